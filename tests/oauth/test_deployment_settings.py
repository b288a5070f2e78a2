"""The variables beside the guide's, where this machine keeps secrets: they are read as the settings are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mcp_oauth_nb
from mcp_oauth_nb import FileTokenStore
from mcp_oauth_nb.cli.doctor import examine
from mcp_oauth_nb.oauth.errors import ConfigurationError
from mcp_oauth_nb.oauth.masking import scrub
from mcp_oauth_nb.oauth.settings import DeploymentSettings
from mcp_oauth_nb.store.chosen import chosen_store
from mcp_oauth_nb.store.shared import configured_url

VARIABLES = [name.upper() for name in DeploymentSettings.model_fields]
SECRET = "-".join(["what", "this", "machine", "keeps", "for", "itself"])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without `.env`, and an environment without these variables."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_nothing_is_set_by_default_and_the_token_goes_into_a_file() -> None:
    assert DeploymentSettings().model_dump() == {
        "token_store": "file",
        "token_store_key": None,
        "store_url": None,
        "store_encryption_key": None,
        "mcp_client_secret": None,
    }


@pytest.mark.parametrize("name", [name for name in VARIABLES if name != "TOKEN_STORE"])
def test_a_variable_may_stand_in_dotenv_the_environment_wins_and_an_empty_one_is_not_set(
    name: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read() -> str | None:
        value = getattr(DeploymentSettings(), name.lower())
        return value if value is None or isinstance(value, str) else value.get_secret_value()

    (elsewhere / ".env").write_text(f"{name}=from-dotenv-{SECRET}\n", encoding="utf-8-sig")
    assert read() == f"from-dotenv-{SECRET}"
    monkeypatch.setenv(name, f"from-environment-{SECRET}")
    assert read() == f"from-environment-{SECRET}"
    monkeypatch.setenv(name, "")
    assert read() == f"from-dotenv-{SECRET}"
    (elsewhere / ".env").write_text(f"{name}=\n")
    assert read() is None


@pytest.mark.parametrize("name", [name for name in VARIABLES if name.endswith(("_KEY", "_SECRET"))])
def test_a_secret_is_masked_from_when_it_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = f"{SECRET}-{name.lower()}"
    monkeypatch.setenv(name, secret)
    assert secret not in repr(DeploymentSettings())
    assert secret not in scrub(f"somebody logs {secret}")


def test_a_url_with_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_URL", f" rediss://ada:{SECRET}@redis.example:6379/0 ")
    assert SECRET not in repr(DeploymentSettings())
    assert configured_url() == f"rediss://ada:{SECRET}@redis.example:6379/0"


def test_a_store_that_there_is_not_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_STORE", "cloud")
    with pytest.raises(ConfigurationError, match="TOKEN_STORE input should be 'file' or 'keyring'") as refused:
        chosen_store()
    assert refused.value.variables == ("TOKEN_STORE",)
    monkeypatch.setenv("TOKEN_STORE", " File ")
    assert isinstance(chosen_store(), FileTokenStore)


def test_white_space_is_a_key_that_cannot_work_and_not_the_lack_of_one(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_STORE_KEY", " ")
    with pytest.raises(ConfigurationError, match="TOKEN_STORE_KEY is not 32 bytes or more"):
        FileTokenStore(elsewhere / "tokens.json")


def test_a_store_works_whatever_is_wrong_with_the_provider(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTH_TOKEN_URL", "gopher://old.example")
    monkeypatch.setenv("LOG_LEVEL", "of another program")
    assert FileTokenStore(elsewhere / "tokens.json").entries() == {}


def test_a_dotenv_that_is_no_text_is_one_clear_error(elsewhere: Path) -> None:
    (elsewhere / ".env").write_bytes(b"TOKEN_STORE_KEY=\xff\xfe\n")
    with pytest.raises(ConfigurationError, match=r"\.env is not UTF-8 text"):
        FileTokenStore(elsewhere / "tokens.json")


def test_the_doctor_says_what_is_set_without_values(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(elsewhere))
    monkeypatch.setenv("MCP_CLIENT_SECRET", SECRET)
    (stores,) = (finding for finding in examine() if finding.subject == "stores")
    assert stores.detail.startswith("TOKEN_STORE is file; set: MCP_CLIENT_SECRET of TOKEN_STORE_KEY, STORE_URL, ")
    assert SECRET not in stores.detail


def test_no_other_module_reads_a_variable_of_ours() -> None:
    package = Path(mcp_oauth_nb.__file__).parent
    readers = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in ("environ", "getenv")
                and isinstance(node.value, ast.Name)
            ):
                readers.add(str(path.relative_to(package)))
    # Those below read variables of the system's, of a JupyterHub's, or take ours away from a child.
    assert readers <= {
        "cli/commands.py",
        "cli/debug_walk.py",
        "client/jupyterhub.py",
        "lab/attacks/starting.py",
        "oauth/environment.py",
    }
