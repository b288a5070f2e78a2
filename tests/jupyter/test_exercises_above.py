"""No check praises what is there already, a lab or what the notebook's own cells leave, or a plausible mistake."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import nbformat
import pytest
from mcp import MCPError
from test_exercises import SOLUTIONS, check_of, solutions, verdict

from mcp_oauth_nb import AuthChallenge, FlowDebugger, HttpLab, Lab, MemoryTokenStore, OAuthHandler, Token
from mcp_oauth_nb.client import connection
from mcp_oauth_nb.exercises import nb00, nb01, nb02, nb03, nb04, nb05, nb06, nb07, nb08, nb10, nb11, nb12, nb13
from mcp_oauth_nb.oauth.errors import AccessDenied, AuthenticationRequired, StateMismatch
from mcp_oauth_nb.oauth.settings import IsolatedSettings
from mcp_oauth_nb.runtime import loops
from mcp_oauth_nb.store.records import TokenKey

pytestmark = pytest.mark.anyio

NOTEBOOKS = sorted(SOLUTIONS.parent.glob("[0-9]*.ipynb"))


# -- what is there already -------------------------------------------------------------------------------------


async def above(path: Path) -> dict[str, Any]:
    """Run a notebook's cells up to its first exercise, and return the names that they have made."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        if cell.source.startswith("answer = ..."):
            return names
        # Magic commands set how a kernel shows things.
        source = re.sub(r"^%.*$", "", cell.source, flags=re.MULTILINE)
        fails = "raises-exception" in cell.metadata.get("tags", [])
        with contextlib.suppress(Exception) if fails else contextlib.nullcontext():
            ran = eval(compile(source, path.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
            if inspect.isawaitable(ran):
                await ran
    raise AssertionError("there is no exercise")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
async def test_nothing_that_the_cells_above_have_made_is_an_answer(path: Path) -> None:
    notebook = f"nb{path.stem[:2]}"
    names = await above(path)
    async with Lab.open() as lab:
        for name, answer in list(names.items()):
            if name == "__builtins__" or inspect.ismodule(answer):
                continue
            for check in (check for where, check in solutions() if where == notebook):
                said = await verdict(check_of(notebook, check), answer, lab)
                assert not said.right, f"check_{check} accepts {name}"
    for answer in (answer for answer in names.values() if not inspect.isclass(answer)):
        if hasattr(answer, "aclose"):
            await answer.aclose()
        if isinstance(answer, tempfile.TemporaryDirectory):
            answer.cleanup()


@pytest.mark.parametrize(("notebook", "name"), solutions())
async def test_an_untouched_lab_is_no_answer(notebook: str, name: str) -> None:
    async with Lab.open() as lab, HttpLab.open() as http_lab:
        for answer in (lab, lab.oauth, lab.session, lab.trace, lab.oauth.store, lab.settings, lab.authorize, http_lab):
            said = await verdict(check_of(notebook, name), answer, lab)
            assert not said.right, f"{answer!r} was accepted"


# -- plausible mistakes ----------------------------------------------------------------------------------------


async def signed_in_before() -> Lab:
    lab = await Lab.open()
    await lab.authorize()
    await lab.session.call_tool("get_github_user_info", authorize=lab.authorize)
    return lab


async def looked_around_first() -> Lab:
    lab = await Lab.open()
    await lab.session.list_tools()
    await lab.session.call_tool("get_github_user_info", authorize=lab.authorize)
    return lab


async def called_the_other_tool() -> Lab:
    lab = await Lab.open()
    await lab.session.call_tool("analyze_code_with_llm", {"code": "pass"})
    return lab


async def gave_no_authorize() -> Lab:
    lab = await Lab.open()
    with pytest.raises(AuthenticationRequired):
        await lab.session.call_tool("get_github_user_info")
    return lab


async def called_twice() -> Lab:
    lab = await Lab.open()
    await lab.session.call_tool("get_github_user_info", authorize=lab.authorize)
    await lab.session.call_tool("get_github_user_info")
    return lab


async def signed_in_twice() -> Lab:
    lab = await Lab.open()
    await lab.session.call_tool("get_github_user_info", authorize=lab.authorize)
    await lab.authorize()
    return lab


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (signed_in_before, "had signed in before"),
        (looked_around_first, "something else came before"),
        (called_the_other_tool, "nobody has called"),
        (gave_no_authorize, "was refused"),
        (called_twice, "more than one call"),
        (signed_in_twice, "signed in twice"),
    ],
)
async def test_a_lab_with_another_story_than_one_call_is_told_which(
    make: Callable[[], Awaitable[Lab]], says: str
) -> None:
    lab = await make()
    assert says in nb00.check_one_call(lab).text
    await lab.aclose()


async def test_the_result_alone_does_not_show_how_it_was_come_by() -> None:
    async with Lab.open() as lab:
        result = await lab.session.call_tool("get_github_user_info", authorize=lab.authorize)
        assert "Assign the lab" in nb00.check_one_call(result).text
        assert nb00.check_one_call(lab).right


async def test_one_call_of_the_older_protocol_is_right_too() -> None:
    async with Lab.open(3, mode="legacy") as lab:
        await lab.session.call_tool("get_github_user_info", {"repo_limit": 1}, authorize=lab.authorize)
    assert nb00.check_one_call(lab).right


def test_an_error_that_nobody_raised_is_no_refusal_of_a_user() -> None:
    assert "nothing has raised" in nb00.check_denial(AccessDenied("no")).text


def test_a_refusal_that_is_not_the_users_is_told_by_its_name() -> None:
    assert "StateMismatch is another refusal" in nb00.check_denial(StateMismatch("not ours")).text


async def test_a_lab_that_asks_for_too_much_is_not_right() -> None:
    settings = {"oauth_issuer": "https://github.com/login/oauth", "oauth_scopes": "read:user,repo,delete_repo"}
    async with Lab.open(**settings) as lab:
        assert "delete_repo" in (await nb01.check_honest_server(lab)).text


def functions() -> list[Any]:
    """Each function that is a plausible mistake: its check, itself, and what the check says."""

    def well_known(issuer: str) -> str:
        scheme, _, rest = issuer.partition("://")
        host, slash, path = rest.partition("/")
        path = slash + path if path else ""
        return f"{scheme}://{host}/.well-known/oauth-authorization-server{path}"

    def by_data(error: dict[str, Any]) -> str:
        if not error.get("data"):
            return "retry" if error["code"] == -32001 else "report"
        data = error["data"] if isinstance(error["data"], dict) else {"type": "oauth2"}
        return {"oauth2": "authorize", "configuration": "configure", "transient": "retry"}.get(data["type"], "report")

    def any_local_port(registered: str, asked: str) -> bool:
        pattern = r"^http://(127\.0\.0\.1|localhost)(:\d+)?/callback(#.*)?$"
        return asked == registered or bool(re.match(pattern, registered) and re.match(pattern, asked))

    def any_case(registered: str, asked: str) -> bool:
        return asked.lower() == registered.lower()

    return [
        (nb01.check_well_known_url, well_known, "https://login.example/tenants/7/"),
        (nb02.check_handler, by_data, "is a list"),
        (nb07.check_matches, any_case, "CALLBACK"),
        (nb07.check_matches, any_local_port, "#fragment"),
        (nb13.check_redirect_uri, any_case, "in capitals"),
    ]


@pytest.mark.parametrize(("check", "function", "says"), functions())
def test_a_function_that_is_nearly_right_is_told_the_case_that_it_gets_wrong(
    check: Any, function: Any, says: str
) -> None:
    said = check(function)
    assert not said.right
    assert says in said.text


@pytest.mark.parametrize(
    ("pattern", "says"),
    [(r"code_challenge=[\w-]{43}", "at its end"), (r"code_challenge=[\w-]{43}(&|$)", "behind a `#`")],
)
async def test_a_challenge_that_no_server_can_use_protects_nothing(pattern: str, says: str) -> None:
    def found(url: str) -> bool:
        return "code_challenge_method=S256" in url and re.search(pattern, url) is not None

    async with Lab.open() as lab:
        assert says in nb03.check_is_protected(found, lab).text


def test_an_answer_that_changes_what_it_is_given_spoils_no_later_check() -> None:
    def empties(error: dict[str, Any]) -> str:
        (error.get("data") or {}).clear()
        return "authorize"

    assert nb02.check_handler(empties).text == nb02.check_handler(empties).text
    assert nb02.check_handler(lambda error: "authorize").text == nb02.check_handler(empties).text


def plain_checks() -> list[tuple[str, str]]:
    """Each exercise whose check wants a function made with `def`."""
    names = {"well_known_url", "handler", "challenge", "is_protected", "matches", "find", "find_metadata"}
    names |= {"scopes_to_ask", "redirect_uri", "code_to_send"}
    return [(notebook, name) for notebook, name in solutions() if name in names and notebook != "nb08"]


@pytest.mark.parametrize(("notebook", "name"), plain_checks())
async def test_an_async_function_where_a_plain_one_is_wanted_is_not_called(notebook: str, name: str) -> None:
    async def answer(*arguments: Any) -> None:
        raise AssertionError("it was called")

    async with Lab.open() as lab:
        said = await verdict(check_of(notebook, name), answer, lab)
    assert "a plain `def` will do" in said.text


async def test_a_strict_handler_of_another_app_is_not_the_labs() -> None:
    settings = IsolatedSettings(oauth_client_id="another", oauth_client_secret="a secret")
    async with Lab.open() as lab:
        said = nb04.check_strict_handler(OAuthHandler(settings=settings, iss_required=True), lab)
    assert "settings of its own" in said.text


@pytest.mark.parametrize("wrong", [{"grant_type": "code"}, {"resource": "https://api.example.com"}], ids=str)
async def test_a_form_that_github_alone_would_take_does_not_cost_the_code(wrong: dict[str, str]) -> None:
    async with Lab.open() as lab:
        request = lab.oauth.get_authorization_url()
        response = lab.oauth.read_callback(await lab.browser.authorize(request.url))
        right = {"grant_type": "authorization_code", "code": response.code, "code_verifier": request.code_verifier}
        right |= {"redirect_uri": lab.settings.oauth_redirect_uri, "resource": lab.oauth.resource_uri}
        right |= {"client_id": lab.github.client_id, "client_secret": lab.github.client_secret}
        assert "a stricter server would not" in (await nb04.check_token_request({**right, **wrong}, lab)).text
        assert (await nb04.check_token_request(right, lab)).right
        again = await nb04.check_token_request(right, lab)
        assert "GitHub says bad_verification_code. If the code was sent before" in again.text


async def an_outage(times: int, *, by_hand: bool) -> Lab:
    async with Lab.open() as lab:
        await lab.authorize()
        lab.clock.advance(hours=8)
        for _ in range(times):
            lab.github.faults.next_token(status=503)
        for _ in range(times):
            with contextlib.suppress(Exception):
                await (lab.oauth.refresh_access_token() if by_hand else lab.session.call_tool("get_github_user_info"))
        await lab.session.call_tool("get_github_user_info")
        return lab


async def test_an_outage_that_went_on_or_that_no_call_met_is_not_the_exercise() -> None:
    assert nb05.check_outage((await an_outage(1, by_hand=False)).trace).right
    assert "one refresh only" in nb05.check_outage((await an_outage(2, by_hand=False)).trace).text
    assert "no tool call met" in nb05.check_outage((await an_outage(1, by_hand=True)).trace).text


async def test_a_trace_without_an_outage_or_without_an_end_of_it_is_told_what_it_lacks() -> None:
    async with Lab.open() as lab:
        await lab.authorize()
        lab.clock.advance(hours=8)
        await lab.session.call_tool("get_github_user_info")
        assert "no refresh in it was answered with 503" in nb05.check_outage(lab.trace).text
        lab.clock.advance(hours=8)
        lab.github.faults.next_token(status=503)
        with pytest.raises(MCPError):
            await lab.session.call_tool("get_github_user_info")
        assert "after the 503 no tool call succeeded" in nb05.check_outage(lab.trace).text
        await lab.oauth.refresh_access_token()
        assert "after the 503 no tool call succeeded" in nb05.check_outage(lab.trace).text


async def test_an_outage_after_which_the_user_signed_in_again_is_not_one_that_cost_nothing() -> None:
    async with Lab.open() as lab:
        await lab.authorize()
        lab.clock.advance(hours=8)
        lab.github.faults.next_token(status=503)
        with pytest.raises(MCPError):
            await lab.session.call_tool("get_github_user_info")
        await lab.authorize()
        await lab.session.call_tool("get_github_user_info")
        assert "had to authorize again" in nb05.check_outage(lab.trace).text
        lab.clock.advance(hours=8)
        await lab.session.call_tool("get_github_user_info")
        # Now there is a refresh that was answered, and a call that succeeded by it.
        assert "had to authorize again" in nb05.check_outage(lab.trace).text


async def test_an_outage_after_which_a_token_came_from_elsewhere_shows_no_refresh() -> None:
    async with Lab.open() as lab:
        await lab.authorize()
        lab.clock.advance(hours=8)
        lab.github.faults.next_token(status=503)
        with pytest.raises(MCPError):
            await lab.session.call_tool("get_github_user_info")
        lab.oauth.token = Token(lab.github.issue_token().access_token)
        await lab.session.call_tool("get_github_user_info")
        assert not nb05.check_outage(lab.trace).right


class OneDrawer:
    """A store that is a dictionary; what is wrong with it is said by those below."""

    def __init__(self) -> None:
        self.tokens: dict[Any, Token] = {}

    def load(self, key: TokenKey) -> Token | None:
        return self.tokens.get(key)

    def save(self, key: TokenKey, token: Token) -> None:
        self.tokens[key] = token

    def delete(self, key: TokenKey) -> None:
        self.tokens.pop(key, None)


class KeepsNothing(OneDrawer):
    def save(self, key: TokenKey, token: Token) -> None:
        """Forget it."""


class GivesAnybodyWhatIsThere(OneDrawer):
    def load(self, key: TokenKey) -> Token | None:
        return next(iter(self.tokens.values()), None)


class DeletesNothing(OneDrawer):
    def delete(self, key: TokenKey) -> None:
        """Keep it."""


class KeepsTheFirst(OneDrawer):
    def save(self, key: TokenKey, token: Token) -> None:
        self.tokens.setdefault(key, token)


class KeepsOnlyTheLast(OneDrawer):
    def save(self, key: TokenKey, token: Token) -> None:
        self.tokens = {key: token}


class DeletesAll(OneDrawer):
    def delete(self, key: TokenKey) -> None:
        self.tokens.clear()


class Borrowed(MemoryTokenStore):
    """Written by somebody else."""


@pytest.mark.parametrize(
    ("store", "says"),
    [
        (OneDrawer, "a token survives the restart"),
        (KeepsNothing, "does not find the token of the first"),
        (GivesAnybodyWhatIsThere, "for another API gets the token too"),
        (DeletesNothing, "after signing out the token is still there"),
        (KeepsTheFirst, "the old token is still there"),
        (KeepsOnlyTheLast, "takes the place of the first"),
        (DeletesAll, "has deleted the token for another API too"),
        (Borrowed, "a class that you wrote yourself"),
        (lambda: OneDrawer, "a class that you wrote yourself"),
    ],
)
async def test_a_store_that_loses_a_token_is_told_which(store: Callable[[], Any], says: str) -> None:
    async with Lab.open() as lab:
        assert says in (await nb05.check_store(store(), lab)).text


async def test_an_authorize_that_shows_nothing_private_or_reads_no_challenge_is_not_right() -> None:
    async with Lab.open() as lab:

        async def always_the_same(challenge: AuthChallenge) -> None:
            await lab.authorize(scopes=("read:user", "repo"))

        async def what_is_asked(challenge: AuthChallenge) -> None:
            await lab.authorize(challenge)

        async def only_repo(challenge: AuthChallenge) -> None:
            await lab.authorize(scopes=("repo",))

        assert "the same as before" in (await nb06.check_authorize(always_the_same, lab)).text
        assert "without the scope repo" in (await nb06.check_authorize(what_is_asked, lab)).text
        assert "forgot the scopes" in (await nb06.check_authorize(only_repo, lab)).text


async def test_an_authorize_that_signs_somebody_in_who_has_nothing_private_is_not_right() -> None:
    async with Lab.open() as lab:
        lab.github.add_user("ada")

        async def as_another(challenge: AuthChallenge) -> None:
            lab.browser.cookies.clear()
            lab.browser.user = "ada"
            await lab.authorize(scopes=(*challenge.scopes, "repo"))

        assert "still shows no private repository" in (await nb06.check_authorize(as_another, lab)).text


async def test_a_right_authorize_is_praised_for_the_private_repositories_that_appear() -> None:
    async with Lab.open() as lab:

        async def answer(challenge: AuthChallenge) -> None:
            await lab.authorize(scopes=(*challenge.scopes, "repo"))

        said = await nb06.check_authorize(answer, lab)
    (number,) = re.findall(r"(\d+) private repositories", said.text)
    assert int(number) > 0


async def test_a_path_that_differs_by_its_last_slash_is_not_one_of_its_own() -> None:
    async with Lab.open() as lab:
        said = await nb08.check_redirect_uri("http://127.0.0.1:8123/callback/", lab)
    assert "not one of its own" in said.text


@pytest.mark.parametrize("env", [{}, {"OAUTH_CLIENT_SECRET": "another"}], ids=["nothing", "no id"])
async def test_credentials_that_env_does_not_hold_are_seen_in_the_list_of_processes(env: dict[str, str]) -> None:
    import_and_set = "import os; os.environ.update(OAUTH_CLIENT_ID='a', OAUTH_CLIENT_SECRET='b'); "
    program = import_and_set + "from mcp_oauth_nb.cli.commands import main; main(['serve'])"
    said = await nb08.check_host({"command": sys.executable, "args": ["-c", program], "env": env})
    assert "not from env" in said.text


async def test_a_server_that_asks_for_no_token_is_not_the_one_of_the_exercise() -> None:
    program = (
        "from mcp.server import MCPServer; server = MCPServer('open'); "
        "server.tool(name='get_github_user_info')(lambda: 'octocat'); server.run('stdio')"
    )
    said = await nb08.check_host({"command": sys.executable, "args": ["-c", program], "env": {}})
    assert "answered without asking for a token" in said.text


async def test_a_command_that_is_no_server_is_not_waited_for_for_ever() -> None:
    others = set(connection._owners)
    said = await nb08.check_host({"command": sys.executable, "args": ["-c", "import sys; sys.stdin.read()"], "env": {}})
    assert "did not answer within 15 seconds" in said.text
    # The process is ended on the loop thread, after the answer.
    if owners := connection._owners - others:
        await loops.on(loops.loop(), asyncio.wait(owners))


async def test_a_document_that_sends_the_code_elsewhere_too_is_not_right() -> None:
    document = {"client_id": nb10.MINE, "client_name": "Mine", "token_endpoint_auth_method": "none"}
    document["redirect_uris"] = ["https://evil.example/callback"]
    assert not (await nb10.check_document(document)).right


def test_a_token_that_expired_is_replaced_although_no_scope_is_named() -> None:
    def answer(header: str, granted: set[str]) -> set[str] | None:
        challenge = AuthChallenge.from_www_authenticate(header)
        needed = set(challenge.scopes) if challenge is not None else set()
        if not needed:
            return None
        return None if "insufficient" in header and needed <= granted else granted | needed

    assert "no scope named" in nb11.check_scopes_to_ask(answer).text


@pytest.mark.parametrize("predict", ["err", "error", "req", "400 "])
async def test_a_prediction_must_name_a_status_or_an_error(predict: str) -> None:
    async def experiment(debug: FlowDebugger) -> None:
        await debug.run(until="token")
        debug.change(code="another")
        await debug.step(predict=predict)

    said = await nb12.check_experiment(experiment)
    assert said.right == predict.startswith("400")


@pytest.mark.parametrize("place", [0, -1])
def test_of_two_issuers_neither_is_taken(place: int) -> None:
    def answer(url: str, state: str, issuer: str) -> str | None:
        got = parse_qs(urlsplit(url).query)
        if got.get("state") != [state] or "error" in got or len(got.get("code", [])) != 1:
            return None
        return got["code"][0] if got.get("iss", [""])[place] == issuer else None

    assert "two issuers" in nb13.check_code_to_send(answer).text
