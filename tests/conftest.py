"""What all tests share."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import threading
from collections.abc import Iterator

import hypothesis
import pytest
import uvicorn
from provider import Provider

from mcp_oauth_nb.lab.mock_github import MockGitHub
from mcp_oauth_nb.oauth import masking
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.secret_memory import Memory
from mcp_oauth_nb.runtime import loops

# In CI the same examples on every run: a change is to blame for a failure, not the day. Elsewhere new ones each time;
# what they find is printed with the way to see it again, and is pinned with `@example` once it is mended.
hypothesis.settings.register_profile("seeded", derandomize=True)
hypothesis.settings.register_profile("searching", derandomize=False, database=None, print_blob=True, deadline=None)
hypothesis.settings.load_profile("seeded" if os.environ.get("CI") else "searching")


def pytest_collection_finish() -> None:
    """Leave what is there for the whole run, all the tests, out of the searches for garbage that some tests do."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Jupyter runs asyncio, so that is the backend that counts."""
    return "asyncio"


@contextlib.contextmanager
def _forgotten_afterwards() -> Iterator[None]:
    before = masking.remembered()
    yield
    if masking.remembered() == before:
        return
    with masking._lock:
        masking._memory = Memory()
    for secret in before:
        masking.remember(secret)


@pytest.fixture(scope="module", autouse=True)
def secrets_of_one_module() -> Iterator[None]:
    """What is made for all tests of a module is forgotten with them: the less is known, the less each test takes."""
    with _forgotten_afterwards():
        yield


@pytest.fixture(scope="module", autouse=True)
def sessions_of_one_module() -> Iterator[None]:
    """What a module's tests leave open ends with them: the next one, whichever it is, finds no session of theirs."""
    yield
    assert loops.stop()


@pytest.fixture(autouse=True)
def secrets_of_one_test(secrets_of_one_module: None) -> Iterator[None]:
    """What one test makes a secret is none in the next: hypothesis takes its strings from this project's code, too."""
    with _forgotten_afterwards():
        yield


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still, at some moment in 2023."""
    return ManualClock(1_700_000_000.0)


@pytest.fixture
def provider() -> Provider:
    """An authorization server of one page."""
    return Provider()


@pytest.fixture
def on_port() -> Iterator[MockGitHub]:
    """The mock behind uvicorn on a free port of 127.0.0.1."""
    listener = socket.create_server(("127.0.0.1", 0))
    github = MockGitHub.at(f"http://127.0.0.1:{listener.getsockname()[1]}")
    config = uvicorn.Config(github.app, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield github
    server.should_exit = True
    thread.join(10)
    listener.close()
    assert not thread.is_alive()


# What is started in the background has SIGINT ignored, and so would the tests of Ctrl-C and Stop.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
