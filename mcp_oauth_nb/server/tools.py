"""The server's two tools and its prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MethodType
from typing import Annotated, Any, Literal

from mcp import CreateMessageResult, MCPError, SamplingMessage
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.resolve import Resolve, Sample
from mcp.server.mcpserver.tools import Tool
from mcp_types import TextContent, ToolAnnotations
from pydantic import BaseModel, Field

from ..client.github import GitHubClient, GitHubUser, ListedRepository
from ..oauth.challenge import AuthChallenge
from ..oauth.errors import InsufficientScope, McpOAuthError, ReauthorizeError

#: The tools that need a token.
PROTECTED_TOOLS = frozenset({"get_github_user_info"})
#: What they need.
BASE_SCOPES = ("read:user",)
#: What they need beside, to see private repositories.
PRIVATE_SCOPES = ("repo",)

AnalysisType = Literal["explain", "review", "suggest_improvements", "find_bugs", "security_review"]

_INSTRUCTIONS: dict[AnalysisType, str] = {
    "explain": "Explain what this code does, step by step, to someone who has not seen it.",
    "review": "Review this code: correctness, clarity, structure. Name what is good, too.",
    "suggest_improvements": "Suggest concrete improvements to this code, the most valuable first.",
    "find_bugs": "Find the bugs in this code. For each, give the input that triggers it.",
    "security_review": "Review the security of this code: what an attacker could do, and how to prevent it.",
}


class GitHubUserInfo(BaseModel):
    """What `get_github_user_info` returns."""

    user: GitHubUser
    repositories: list[ListedRepository] = Field(default_factory=list, description="The most recently updated first")


class CodeAnalysis(BaseModel):
    """What `analyze_code_with_llm` returns."""

    analysis_type: AnalysisType
    analysis: str
    model: str = Field(description="The model that the client used")


Code = Annotated[str, Field(min_length=1, description="The code to analyse")]
MaxTokens = Annotated[int, Field(ge=1, le=100_000, description="The most tokens that the model may answer with")]


def ask_the_model(code: Code, analysis_type: AnalysisType = "explain", max_tokens: MaxTokens = 500) -> Sample:
    """Ask the client's own model: the server has none (MCP sampling)."""
    # The fence is longer than any run of backticks inside, so that the code cannot end it.
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    text = f"{_INSTRUCTIONS[analysis_type]}\n\n{fence}\n{code}\n{fence}"
    message = SamplingMessage(role="user", content=TextContent(type="text", text=text))
    return Sample([message], max_tokens=max_tokens)


def required_scopes(tool: str, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the scopes that a call needs; none if the tool is open.

    Args:
        arguments: as they came from the client, not yet validated.
    """
    if tool not in PROTECTED_TOOLS:
        return ()
    # Validation will read "yes" and 1 as true, too: whatever is not plainly false needs the scope.
    return BASE_SCOPES if arguments.get("include_private", False) is False else BASE_SCOPES + PRIVATE_SCOPES


def tools(github: GitHubClient, challenge: AuthChallenge) -> list[Tool]:
    """Return the tools for one server.

    Args:
        github: calls the API with the user's token.
        challenge: what the client is told when GitHub no longer accepts the token in the middle of a call.
    """
    user_info = _WithGitHub(github, challenge).get_github_user_info
    return [_USER_INFO.model_copy(update={"fn": user_info}), _ANALYSIS.model_copy()]


@dataclass(frozen=True)
class _WithGitHub:
    """The tool that needs a token, with what it needs from its server."""

    github: GitHubClient
    challenge: AuthChallenge

    async def get_github_user_info(
        self,
        include_repos: Annotated[bool, Field(description="Include repository data")] = True,
        repo_limit: Annotated[int, Field(ge=1, le=100, description="The most repositories to return")] = 10,
        include_private: Annotated[
            bool, Field(description="Include private repositories; needs the scope repo")
        ] = False,
    ) -> GitHubUserInfo:
        """Fetch the authenticated GitHub user and their repositories. Needs authorization."""
        try:
            user = await self.github.user()
            repositories = (
                await self.github.repositories(repo_limit, include_private=include_private) if include_repos else []
            )
        except InsufficientScope as error:
            raise authentication_required(self.challenge, also=(*error.granted, *error.required)) from error
        except ReauthorizeError as error:
            raise authentication_required(self.challenge) from error
        except McpOAuthError as error:
            # The model reads this one, and can tell the user or try again.
            raise ToolError(str(error)) from error
        return GitHubUserInfo(user=user, repositories=repositories)


def analyze_code_with_llm(
    code: Code,
    answer: Annotated[CreateMessageResult, Resolve(ask_the_model)],
    analysis_type: AnalysisType = "explain",
    max_tokens: MaxTokens = 500,
) -> CodeAnalysis:
    """Analyse code with the client's own model, by MCP sampling. Needs no authorization."""
    if not isinstance(answer.content, TextContent):
        raise ToolError(f"The client's model answered with {answer.content.type}, not with text.")
    return CodeAnalysis(analysis_type=analysis_type, analysis=answer.content.text, model=answer.model)


def github_user_summary(focus: str = "what they work on") -> str:
    """Ask for a summary of the authenticated GitHub user."""
    return (
        "Call the tool get_github_user_info with include_repos=true, then summarise this GitHub user "
        f"in one paragraph, with a focus on {focus}. Mention only what the tool returned."
    )


# Made once for all servers: reading a signature is most of the work of making a server, and what pydantic makes of one
# keeps, from Python 3.13 on, the frames of all who were calling then.
_USER_INFO = Tool.from_function(
    MethodType(_WithGitHub.get_github_user_info, object()),
    title="GitHub user information",
    annotations=ToolAnnotations(read_only_hint=True, open_world_hint=True),
)
_ANALYSIS = Tool.from_function(
    analyze_code_with_llm, title="Analyse code", annotations=ToolAnnotations(read_only_hint=True)
)
#: Asks a model to sum a user up.
SUMMARY = Prompt.from_function(github_user_summary, title="Summarise a GitHub user")


def authentication_required(challenge: AuthChallenge, *, also: tuple[str, ...] = ()) -> MCPError:
    """Make the -32001 error that leads the client through the challenge.

    Args:
        also: scopes to ask for beside the challenge's own.
    """
    scopes = tuple(dict.fromkeys((*challenge.scopes, *also)))
    error = replace(challenge, scopes=scopes).to_jsonrpc()
    return MCPError(error["code"], error["message"], error["data"])
