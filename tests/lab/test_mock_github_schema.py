"""The mock's answers have the fields of GitHub's published schema, of which githubkit's models are made."""

from __future__ import annotations

from typing import Any

import pytest
from githubkit.compat import GitHubModel
from githubkit_schemas.v2022_11_28 import models as models_2022
from githubkit_schemas.v2026_03_10 import models as models_2026
from mock_github_world import World

pytestmark = pytest.mark.anyio

VERSIONS = {"2022-11-28": models_2022, "2026-03-10": models_2026}
SCOPES = ("repo", "user", "read:org")
PRIVATE = "octocat/a-private-one"


@pytest.fixture
def world() -> World:
    world = World()
    world.github.add_repository("octocat", "a-private-one", private=True)
    return world


def unknown(model: type[GitHubModel], body: dict[str, Any]) -> set[str]:
    """Return the fields of an answer that the schema does not have."""
    return set(body) - {field.alias or name for name, field in model.model_fields.items()}


PLACES = [
    ("/user", SCOPES, "PrivateUser"),
    ("/user", (), "PublicUser"),
    ("/users/octocat", SCOPES, "PublicUser"),
    ("/users/octocat", None, "PublicUser"),
    ("/users/octo-org", (), "PublicUser"),
    ("/user/emails", SCOPES, "Email"),
    ("/user/orgs", SCOPES, "OrganizationSimple"),
    ("/users/octocat/orgs", None, "OrganizationSimple"),
    ("/orgs/octo-org", (), "OrganizationFull"),
    ("/user/repos", SCOPES, "Repository"),
    ("/users/octocat/repos", SCOPES, "MinimalRepository"),
    ("/users/octo-org/repos", None, "MinimalRepository"),
    ("/repos/octocat/hello-world", SCOPES, "FullRepository"),
    ("/repos/octocat/hello-world", None, "FullRepository"),
    (f"/repos/{PRIVATE}", SCOPES, "FullRepository"),
    ("/meta", None, "ApiOverview"),
    ("/rate_limit", (), "RateLimitOverview"),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("path", "scopes", "name"), PLACES)
async def test_an_answer_validates_and_has_no_field_that_the_schema_lacks(
    world: World, version: str, path: str, scopes: tuple[str, ...] | None, name: str
):
    secret = None if scopes is None else world.github.issue_token(scopes=scopes).access_token
    response = await world.api(path, secret, headers={"X-GitHub-Api-Version": version})
    assert response.status_code == 200, response.text
    body = response.json()
    model = getattr(VERSIONS[version], name)
    bodies = body if isinstance(body, list) else [body]
    assert bodies
    for one in bodies:
        model.model_validate(one)
        assert unknown(model, one) == set()
        owners = [one[part] for part in ("owner", "organization") if part in one]
        assert [unknown(VERSIONS[version].SimpleUser, owner) for owner in owners] == [set()] * len(owners)
