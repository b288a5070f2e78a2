"""Somebody who watches a client: every request that it sends, and everything that it shows."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit


class Watch(logging.Handler):
    """Knows every secret and the places that it may be sent to.

    Args:
        loggers: whose logs to read.

    Attributes:
        secrets: secret -> the places that it may be sent to, each an address without its query.
        requests: what was sent: method and place.
        wrong: what should not have happened.
    """

    def __init__(self, *loggers: str) -> None:
        super().__init__(logging.DEBUG)
        self._loggers = loggers
        self.secrets: dict[str, tuple[str, ...]] = {}
        self.requests: list[str] = []
        self.wrong: list[str] = []
        self._drawn: dict[str, str] = {}
        self._shown: list[str] = []
        self._levels: dict[str, int] = {}

    def begin(self) -> None:
        """Read all logs, at DEBUG."""
        for name in self._loggers:
            logger = logging.getLogger(name)
            self._levels[name] = logger.level
            logger.setLevel(logging.DEBUG)
            logger.addHandler(self)

    def end(self) -> None:
        """Leave the logs as they were."""
        for name in self._loggers:
            logging.getLogger(name).setLevel(self._levels[name])
            logging.getLogger(name).removeHandler(self)

    # -- what is sent ------------------------------------------------------------------------------------------------

    def may_go(self, secret: str | None, *places: str) -> None:
        """Say where a secret may be sent to."""
        if secret:
            self.secrets[secret] = places

    def client(self, client_id: str, secret: str | None, *places: str) -> None:
        """Learn a client's secret, in both forms that it is sent in."""
        if secret:
            for form in (secret, base64.b64encode(f"{client_id}:{secret}".encode()).decode()):
                self.may_go(form, *places)

    def drawing(self, token_bytes: Callable[[int], bytes]) -> Callable[[int], bytes]:
        """Return a source of randomness that tells what is made of it: each `state`, and each verifier."""

        def draw(number: int) -> bytes:
            drawn = token_bytes(number)
            text = base64.urlsafe_b64encode(drawn).decode().rstrip("=")
            digest = hashlib.sha256(text.encode()).digest()
            self._drawn[base64.urlsafe_b64encode(digest).decode().rstrip("=")] = text
            # The client itself sends it nowhere: a state goes through the browser. Where a verifier may go is known
            # once the person is sent away.
            self.may_go(text)
            return drawn

        return draw

    def sent_to(self, url: str, token_endpoint: str) -> None:
        """Note that a person was sent to an authorization endpoint, and where the verifier belongs."""
        self.may_go(self._drawn[parse_qs(urlsplit(url).query)["code_challenge"][0]], token_endpoint)

    def request(self, method: str, url: str, headers: Any, body: bytes) -> None:
        """Look at a request."""
        parts = urlsplit(url)
        place = f"{parts.scheme}://{parts.netloc}{parts.path}"
        self.requests.append(f"{method} {place}")
        for verifier in parse_qs(body.decode()).get("code_verifier", ()):
            if verifier not in self.secrets:
                self.wrong.append("a verifier is none that was drawn")
        text = f"{headers}\n{body.decode()}"
        text += unquote(text)
        for secret, places in self.secrets.items():
            if secret in text and place not in places:
                self.wrong.append(f"a secret for {places} was sent to {place}")
            if secret in unquote(url):
                self.wrong.append(f"a secret for {places} was in the address {place}")

    def tokens(self, body: bytes, *, credentials: tuple[str, ...], access: tuple[str, ...]) -> None:
        """Learn the tokens of an answer, and the secret of a client that was registered.

        Args:
            credentials: where the refresh token and the secret may go.
            access: where the access token may go.
        """
        try:
            answer = json.loads(body)
        except ValueError:
            return
        self.client(answer.get("client_id", ""), answer.get("client_secret"), *credentials)
        self.may_go(answer.get("refresh_token"), *credentials)
        self.may_go(answer.get("access_token"), *access, *credentials)

    # -- what is shown -----------------------------------------------------------------------------------------------

    def emit(self, record: logging.LogRecord) -> None:
        self._shown.append(record.getMessage())
        if record.exc_info:
            self._shown += traceback.format_exception(*record.exc_info)

    def shows(self, *values: object) -> None:
        """Look at the repr of values, and at whole tracebacks of exceptions."""
        for value in values:
            self._shown += [repr(value), str(value)]
            if isinstance(value, BaseException):
                self._shown += traceback.format_exception(value)

    def check(self, *more: str) -> None:
        """Check that nothing went wrong so far.

        Args:
            more: secrets that are sent nowhere.
        """
        shown = "\n".join(self._shown)
        self._shown.clear()
        for secret in {*self.secrets, *more}:
            if secret in shown or quote(secret, safe="") in shown:
                start = shown.index(secret) if secret in shown else shown.index(quote(secret, safe=""))
                self.wrong.append(f"a secret is shown: {shown[max(0, start - 200) : start]}[here]")
        assert not self.wrong, self.wrong
