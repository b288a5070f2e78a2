"""Exercises of notebook 06: an `authorize` function and a sampling callback."""

from __future__ import annotations

import inspect
from typing import Any

from ..lab import Lab
from .verdict import Verdict, checked, not_yet, right


@checked
async def check_authorize(answer: Any, lab: Lab) -> Verdict:
    """The answer, given as `authorize=`, lets the tool see private repositories."""
    if not inspect.iscoroutinefunction(answer):
        return not_yet("that is not a function made with `async def`.")
    await lab.oauth.revoke()
    result = await lab.session.call_tool("get_github_user_info", {"repo_limit": 100}, authorize=answer)
    token = lab.oauth.token
    if token is None or "repo" not in token.scopes:
        return not_yet("the token that it got is without the scope repo.")
    if not {"read:user", "user"} & set(token.scopes):
        return not_yet("it forgot the scopes that the challenge names.")
    private = [repository for repository in (result.structured_content or {})["repositories"] if repository["private"]]
    return right(f"the challenge's scopes and one more, and {len(private)} private repositories appear.")


@checked
async def check_model(answer: Any) -> Verdict:
    """The answer is a sampling callback that writes as many words as it may."""
    if not inspect.iscoroutinefunction(answer):
        return not_yet("that is not a function made with `async def`.")
    async with Lab.open(sampling=answer) as lab:
        for limit in (3, 12):
            arguments = {"code": "pass", "max_tokens": limit}
            result = await lab.session.call_tool("analyze_code_with_llm", arguments)
            words = len((result.structured_content or {"analysis": ""})["analysis"].split())
            if words != limit:
                return not_yet(f"with max_tokens={limit} it wrote {words} words.")
    return right("your model keeps to its limit, whatever that is.")
