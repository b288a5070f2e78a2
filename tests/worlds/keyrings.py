"""Keyrings to test with: in memory, and in a directory that several processes share. Both are as small as Windows'."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from urllib.parse import quote

from keyring.backend import KeyringBackend
from keyring.compat import properties
from keyring.errors import KeyringLocked, PasswordDeleteError, PasswordSetError

#: CRED_MAX_CREDENTIAL_BLOB_SIZE of the Windows API, in bytes of UTF-16.
MOST_BYTES = 2560


class MemoryKeyring(KeyringBackend):
    """A keyring in memory.

    Attributes:
        locked: the user does not unlock it.
        full: nothing can be written.
        steps: writes and removals that still work; the one after them is the end of the process.
    """

    def __init__(self) -> None:
        super().__init__()
        self.secrets: dict[tuple[str, str], str] = {}
        self.locked = False
        self.full = False
        self.steps: int | None = None

    @properties.classproperty
    def priority(self) -> float:
        # Never the system's own choice.
        return -1

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise KeyringLocked("the user said no")
        return self.secrets.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.locked:
            raise KeyringLocked("the user said no")
        if self.full or len(password.encode("utf-16-le")) > MOST_BYTES:
            raise PasswordSetError("the stub received bad data")
        self._step()
        self.secrets[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if (service, username) not in self.secrets:
            raise PasswordDeleteError("no such password")
        self._step()
        del self.secrets[service, username]

    def _step(self) -> None:
        if self.steps is not None:
            self.steps -= 1
            if self.steps < 0:
                raise Crash


class Crash(BaseException):
    """The process ends."""


class FolderKeyring(KeyringBackend):
    """A keyring in a directory: a file for each entry."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__()
        self.folder = Path(folder)

    @properties.classproperty
    def priority(self) -> float:
        return -1

    def _path(self, service: str, username: str) -> Path:
        return self.folder / quote(f"{service}@{username}", safe="")

    def get_password(self, service: str, username: str) -> str | None:
        try:
            return self._path(service, username).read_text("utf-16-le")
        except FileNotFoundError:
            return None

    def set_password(self, service: str, username: str, password: str) -> None:
        content = password.encode("utf-16-le")
        if len(content) > MOST_BYTES:
            raise PasswordSetError("the stub received bad data")
        self.folder.mkdir(exist_ok=True)
        # An entry of a keyring is written as a whole.
        descriptor, name = tempfile.mkstemp(dir=self.folder)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).replace(self._path(service, username))

    def delete_password(self, service: str, username: str) -> None:
        try:
            self._path(service, username).unlink()
        except FileNotFoundError:
            raise PasswordDeleteError("no such password") from None
