"""Solutions of notebook 06. A test runs them against the checks, each with a fresh lab."""

from __future__ import annotations

from mcp import CreateMessageResult
from mcp.client import ClientRequestContext
from mcp_types import CreateMessageRequestParams, TextContent

from mcp_oauth_nb import AuthChallenge, Lab
from mcp_oauth_nb.client.session import Authorize, Sampling


async def authorize(lab: Lab) -> Authorize:
    """Ask for one scope more than the challenge does."""

    async def answer(challenge: AuthChallenge) -> None:
        await lab.authorize(scopes=(*challenge.scopes, "repo"))

    return answer


async def model(lab: Lab) -> Sampling:
    """Write as many words as may be."""

    async def answer(context: ClientRequestContext, params: CreateMessageRequestParams) -> CreateMessageResult:
        text = " ".join(["word"] * params.max_tokens)
        return CreateMessageResult(role="assistant", content=TextContent(text=text), model="wordy")

    return answer
