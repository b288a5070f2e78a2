"""The accounts and repositories that exist from the start: the same for the same seed, on every machine."""

from __future__ import annotations

import random
from collections.abc import Mapping

from ...oauth.clock import iso
from .model import Affiliation, Organization, Repository, User

_FIRST_DAY = 1_577_836_800  # 2020-01-01T00:00:00Z
_LAST_DAY = 1_767_225_600  # 2026-01-01T00:00:00Z

_ADJECTIVES = "brave calm clever eager gentle happy quiet rapid shiny silent sunny tiny wild wise".split()
_NOUNS = "anchor beacon compass engine forge garden harbor kettle ladder lantern mirror orbit river signal".split()
_LANGUAGES = ("Python", "TypeScript", "Rust", "Go", "Shell", "Jupyter Notebook", None)


def default_users() -> list[User]:
    """Make the three people that everybody can sign in as."""
    octocat = User("octocat", 583_231, "The Octocat", "octocat@example.com", company="@octo-org")
    octocat.location, octocat.followers, octocat.following = "San Francisco", 4242, 9
    octocat.public_gists, octocat.private_gists, octocat.disk_usage, octocat.plan = 8, 3, 52_011, "pro"
    # Whoever takes an address for proven must look at `verified`: this one is anybody's.
    octocat.more_emails = {"octocat@octo-org.example": False}
    hubot = User("hubot", 480_938, "Hubot", bio="I work at night.", company="@octo-org", followers=700, following=1)
    hubot.created_at = "2010-11-17T02:22:58Z"
    mona = User("monalisa", 2_500_001, "Mona Lisa", "mona@example.com", location="Paris", followers=61, following=12)
    mona.created_at, mona.two_factor_authentication = "2012-10-08T13:37:00Z", False
    return [octocat, hubot, mona]


def default_organizations() -> list[Organization]:
    """Make the one organization, to which two of them belong."""
    description = "Anchors, beacons and compasses."
    return [Organization("octo-org", 6_007_854, "Octo Org", description, ("octocat", "hubot"), ("octocat",))]


def default_repositories(seed: int | str) -> list[Repository]:
    """Make their repositories: more than a page for octocat, public and private, own and shared."""
    maker = _Maker(random.Random(f"{seed}:repositories"))
    octocat: Mapping[str, Affiliation] = {"octocat": "owner"}
    repositories = [maker.named("octocat", "hello-world", octocat, stars=2500)]
    repositories += [maker.any("octocat", octocat, private=number % 3 == 0) for number in range(33)]
    repositories += [
        maker.any("octo-org", {"octocat": "organization_member", "hubot": "organization_member"}, number == 0, True)
        for number in range(3)
    ]
    repositories += [maker.any("hubot", {"hubot": "owner"}, private=number == 0) for number in range(4)]
    repositories += [
        maker.any("monalisa", {"monalisa": "owner", "octocat": "collaborator"}, private=number == 0)
        for number in range(2)
    ]
    return repositories


class _Maker:
    def __init__(self, rng: random.Random):
        self._rng = rng
        self._names: set[str] = set()
        self._next_id = 1_296_269

    def any(
        self, owner: str, affiliations: Mapping[str, Affiliation], private: bool, organization: bool = False
    ) -> Repository:
        name = self._name()
        # A multiplication is exact on every machine, where a power of a float need not be.
        stars = 0 if private else int(40 * self._rng.random()) ** 2
        return self.named(owner, name, affiliations, private=private, organization=organization, stars=stars)

    def named(
        self,
        owner: str,
        name: str,
        affiliations: Mapping[str, Affiliation],
        *,
        private: bool = False,
        organization: bool = False,
        stars: int = 0,
    ) -> Repository:
        self._next_id += self._rng.randrange(1, 500)
        created, updated = sorted(self._rng.sample(range(_FIRST_DAY, _LAST_DAY), 2))
        return Repository(
            id=self._next_id,
            owner=owner,
            name=name,
            private=private,
            description=f"The {name.replace('-', ' ')}, explained by example.",
            fork=self._rng.random() < 0.15,
            archived=self._rng.random() < 0.1,
            language=self._rng.choice(_LANGUAGES),
            stars=stars,
            forks=stars // 7,
            size=self._rng.randrange(10, 90_000),
            created_at=iso(created),
            updated_at=iso(updated),
            pushed_at=iso(self._rng.randrange(created, updated + 1)),
            owner_is_organization=organization,
            affiliations=dict(affiliations),
        )

    def _name(self) -> str:
        while True:
            name = f"{self._rng.choice(_ADJECTIVES)}-{self._rng.choice(_NOUNS)}"
            if name not in self._names:
                self._names.add(name)
                return name
