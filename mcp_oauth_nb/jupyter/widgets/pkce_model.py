"""The logic of the PKCE playground: a toy verifier, the challenge made from it, and what a server would say."""

from __future__ import annotations

import base64
import hashlib
import random
import string
from typing import Any

from traitlets import Enum, HasTraits, Unicode, validate

from ...oauth.check import Check
from ...oauth.errors import InvalidCodeVerifier
from ...oauth.masking import scrub
from ...oauth.pkce import METHOD, challenge_for, check_verifier, random_token, verify

#: RFC 7636 appendix B: a verifier that the whole world knows.
APPENDIX_B = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

#: RFC 7636 section 4.1, in the order in which `flip` goes through them.
UNRESERVED = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-._~"

_SECTION = "RFC 7636 section 4.1"
_NOT_A_TOY = "That is the verifier of a real flow, which is never shown. Play with the toy."


class PkceModel(HasTraits):
    """One flow in miniature: a challenge was sent when it started, and now a verifier is presented for it.

    The verifier is a toy. It may be shown, because no flow uses it; one that this package knows from a real flow is
    not taken.

    Args:
        seed: decides the toys; the same seed gives the same ones.
        octets: 32 bytes to make the first toy from, instead.

    Attributes:
        verifier: what is presented at the token endpoint. Assign to it to edit it.
        method: `S256`, or `plain` to see why not.
        sent: the verifier that the flow was started with; its challenge is what the server keeps.
        notice: why the last edit was not taken; empty otherwise.
    """

    verifier = Unicode()
    method = Enum([METHOD, "plain"], default_value=METHOD)
    sent = Unicode()
    notice = Unicode()

    def __init__(self, seed: int = 7, octets: bytes | None = None):
        super().__init__()
        # A stream of its own: a lab with the same seed draws other values.
        self._random = random.Random(f"{seed} playground")
        self._toys = {APPENDIX_B}
        first = (lambda _: octets) if octets is not None else self._random.randbytes
        self._begin(random_token(first))

    # -- what can be done ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the flow anew with the verifier as it is now: its challenge is sent to the server."""
        self.sent = self.verifier

    def generate(self) -> str:
        """Start with a fresh toy of 32 bytes from the seed, and return it."""
        return self._begin(random_token(self._random.randbytes))

    def load_appendix_b(self) -> None:
        """Start with the example of RFC 7636 appendix B."""
        self._begin(APPENDIX_B)

    def restore(self) -> None:
        """Take back all edits since the start."""
        self.verifier = self.sent

    def flip(self, position: int = 0) -> str:
        """Replace one character by the next one of the alphabet, and return the new verifier.

        Args:
            position: counts from 0; negative ones count from the end.

        Raises:
            IndexError: the verifier has no such position.
        """
        old = self.verifier[position]
        new = UNRESERVED[(UNRESERVED.find(old) + 1) % len(UNRESERVED)]
        position %= len(self.verifier)
        self.verifier = self.verifier[:position] + new + self.verifier[position + 1 :]
        return self.verifier

    def _begin(self, toy: str) -> str:
        self._toys.add(toy)
        with self.hold_trait_notifications():
            self.verifier = self.sent = toy
            self.method = METHOD
        return toy

    @validate("verifier")
    def _only_toys(self, proposal: Any) -> str:
        text: str = proposal["value"]
        # Whoever pastes a real one by mistake must not find it in the saved notebook.
        real = scrub(text) != text and not any(toy in text for toy in self._toys)
        self.notice = _NOT_A_TOY if real else ""
        return self.verifier if real else text

    # -- what comes of it ------------------------------------------------------------------------------------------

    @property
    def error(self) -> InvalidCodeVerifier | None:
        """What `check_verifier` raises for a verifier of this kind; None if RFC 7636 section 4.1 allows it."""
        if not self.strangers and 43 <= len(self.verifier) <= 128:
            return None
        try:
            # The length is all that the error tells. The toy itself must not be remembered, and masked, as a secret.
            check_verifier(" " * len(self.verifier))
        except InvalidCodeVerifier as error:
            return error
        return None  # pragma: no cover

    @property
    def strangers(self) -> str:
        """The characters that a verifier cannot have, each once."""
        return "".join(dict.fromkeys(c for c in self.verifier if c not in UNRESERVED))

    @property
    def digest(self) -> str:
        """SHA-256 of the verifier in hexadecimal; empty if it is not ASCII."""
        return hashlib.sha256(self.verifier.encode()).hexdigest() if self.verifier.isascii() else ""

    @property
    def base64(self) -> str:
        """The digest in plain Base64, before it is made fit for URLs."""
        return base64.b64encode(bytes.fromhex(self.digest)).decode()

    @property
    def challenge(self) -> str:
        """The challenge that the verifier has by the chosen method; empty where it has none."""
        return _challenge(self.verifier, self.method)

    @property
    def sent_challenge(self) -> str:
        """The challenge that the flow was started with, by the chosen method."""
        return _challenge(self.sent, self.method)

    @property
    def changed(self) -> tuple[int, ...]:
        """The positions at which the two challenges differ."""
        here, there = self.challenge, self.sent_challenge
        shorter = min(len(here), len(there))
        return (*(i for i in range(shorter) if here[i] != there[i]), *range(shorter, len(here)))

    @property
    def accepted(self) -> bool:
        """What `verify(verifier, sent_challenge, method)` says."""
        return self.verifier.isascii() and verify(self.verifier, self.sent_challenge, self.method)

    @property
    def checks(self) -> tuple[Check, ...]:
        """The rules one by one."""
        return (self._check_length(), self._check_characters(), self._check_method(), self._check_fit())

    def _check_length(self) -> Check:
        length = len(self.verifier)
        if 43 <= length <= 128:
            return Check("length", "passed", f"{length} characters", reference=_SECTION)
        return Check("length", "failed", f"{length} characters", "43 to 128 characters", _SECTION)

    def _check_characters(self) -> Check:
        name, should = "characters", "A-Z a-z 0-9 - . _ ~ only"
        if not self.strangers:
            return Check(name, "passed", should, reference=_SECTION)
        return Check(name, "failed", f"Not allowed: {' '.join(map(ascii, self.strangers))}", should, _SECTION)

    def _check_method(self) -> Check:
        reference = "RFC 9700 section 2.1.1; RFC 7636 section 7.2"
        if self.method == METHOD:
            return Check("method", "passed", METHOD, reference=reference)
        seen = "plain is refused: the challenge is the verifier, so whoever sees the authorization URL has both"
        return Check("method", "failed", seen, METHOD, reference)

    def _check_fit(self) -> Check:
        name, reference = "fits the challenge", "RFC 7636 section 4.6"
        if self.accepted:
            return Check(name, "passed", "verify() is True: the server hands out the token", reference=reference)
        if self.method != METHOD or self.error is not None:
            return Check(
                name, "failed", "verify() is False, whatever the challenge is", "a valid verifier, and S256", reference
            )
        return Check(
            name,
            "failed",
            "verify() is False: the server answers invalid_grant",
            "the verifier of the start",
            reference,
        )

    def __repr__(self) -> str:
        return f"PkceModel({self.summary})"

    @property
    def summary(self) -> str:
        """One line, without the verifier."""
        verdict = "accepted" if self.accepted else "refused"
        return f"{len(self.verifier)} characters, {self.method}, {verdict}"


def _challenge(verifier: str, method: str) -> str:
    if not verifier.isascii():
        return ""
    return challenge_for(verifier) if method == METHOD else verifier
