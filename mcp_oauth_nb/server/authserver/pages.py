"""The page that asks for consent. What goes wrong is said by `runtime.pages.message_page`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from starlette.responses import HTMLResponse

from ...runtime.pages import Form, page

_MEANINGS = {
    "read:user": "Read your GitHub profile",
    "repo": "Read and write your GitHub repositories, private ones too",
}


@dataclass(frozen=True)
class Question:
    """What a person is asked to consent to.

    Attributes:
        client_name: what the client calls itself.
        client_known_by: why that name may be believed, or not.
        redirect_to: where the answer goes.
        on_this_machine: any program here could be what listens there.
        scopes: what is asked for.
        allowed_before: scopes that this person has allowed this client already, in this browser.
        resource: the MCP server that it is for.
    """

    client_name: str
    client_known_by: str
    redirect_to: str
    on_this_machine: bool
    scopes: Sequence[str]
    resource: str
    allowed_before: AbstractSet[str] = frozenset()

    @property
    def asks_for_more(self) -> bool:
        """Say whether the client has some of this and wants the rest."""
        return bool(self.allowed_before) and not self.allowed_before >= set(self.scopes)


def consent_page(question: Question, *, fields: Mapping[str, str]) -> HTMLResponse:
    """Ask whether this client may act for the person, and say where the answer goes.

    Args:
        fields: what the form carries on.
    """
    return page(
        "server/authserver/templates/consent.html",
        f"Authorize {question.client_name}",
        form=Form.ONWARD,
        question=question,
        initial=next((letter for letter in question.client_name if letter.isalnum()), "?").upper(),
        meanings=_MEANINGS,
        fields=fields,
    )
