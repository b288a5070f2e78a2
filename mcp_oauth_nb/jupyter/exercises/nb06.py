"""Exercises of notebook 06: an `authorize` function and a sampling callback."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...lab.lab import Lab
from .verdict import Verdict, checked_async_function, not_yet, right

# A scope that no tool needs, but another server's challenge could name.
_ANOTHER = "gist"


@checked_async_function
async def check_authorize(answer: Any, lab: Lab) -> Verdict:
    """The answer, given as `authorize=`, lets the tool see private repositories."""
    await lab.oauth.revoke()
    # The challenge of this call does not name repo, that of a call for private repositories would.
    await lab.session.call_tool("get_github_user_info", authorize=answer)
    if "repo" not in _granted(lab):
        return not_yet("the token that it got is without the scope repo.")
    if not {"read:user", "user"} & _granted(lab):
        return not_yet("it forgot the scopes that the challenge names.")
    arguments = {"include_private": True, "repo_limit": 100}
    result = await lab.session.call_tool("get_github_user_info", arguments)
    private = [repository for repository in (result.structured_content or {})["repositories"] if repository["private"]]
    if not private:
        return not_yet("the tool still shows no private repository.")
    await answer(replace(lab.oauth.challenge(), scopes=("read:user", _ANOTHER)))
    if not {_ANOTHER, "repo"} <= _granted(lab):
        return not_yet(f"for a challenge that names {_ANOTHER} it asks for the same as before: read `.scopes`.")
    return right(f"the challenge's scopes and one more, and {len(private)} private repositories appear.")


def _granted(lab: Lab) -> set[str]:
    return set(lab.oauth.token.scopes) if lab.oauth.token is not None else set()


@checked_async_function
async def check_model(answer: Any) -> Verdict:
    """The answer is a sampling callback that writes as many words as it may."""
    async with Lab.open(sampling=answer) as lab:
        for limit in (3, 12):
            arguments = {"code": "pass", "max_tokens": limit}
            result = await lab.session.call_tool("analyze_code_with_llm", arguments)
            words = len((result.structured_content or {"analysis": ""})["analysis"].split())
            if words != limit:
                return not_yet(f"with max_tokens={limit} it wrote {words} words.")
    return right("your model keeps to its limit, whatever that is.")
