"""Where the server over HTTP keeps its state: in memory, in a directory, or in a Redis that several workers share.

    store = open_store("redis://127.0.0.1:6379/0")
    await store.check()

Whatever a store fails with is `StoreUnavailable` from here on. Its place is shown without user name and password, and
nothing in it can be read without `STORE_ENCRYPTION_KEY` (see `authserver.vault`).
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import stat
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsFloat
from urllib.parse import SplitResult, unquote, urlsplit

from key_value.aio.errors import BaseKeyValueError, DeserializationError
from key_value.aio.protocols import AsyncKeyValue
from key_value.aio.wrappers.base import BaseWrapper
from limits.aio.storage import Storage

from ..oauth.errors import ConfigurationError, StoreUnavailable
from ..oauth.masking import remember
from ..oauth.settings import DeploymentSettings
from .key import KEY_COMMAND, key_from

URL_VARIABLE = "STORE_URL"
KEY_VARIABLE = "STORE_ENCRYPTION_KEY"

# A worker has three seconds to drain, so an answer that takes longer is none.
_TIMEOUT_SECONDS = 2.0
_KINDS = (
    f"--store, or {URL_VARIABLE}, is one of: memory, a directory or disk:///directory, redis://host:port/number, "
    "rediss://host:port/number"
)


async def _nothing() -> None:
    pass


@dataclass(frozen=True)
class SharedStore:
    """An opened store.

    Attributes:
        place: what may be shown of its address.
        kv: holds the records; None for one in memory.
        rates: counts for the rate limits; None where each worker counts for itself.
    """

    place: str
    kv: TypedErrors | None = None
    rates: Storage | None = None
    _close: Callable[[], Awaitable[None]] = _nothing

    async def check(self) -> None:
        """Write to it once, and remove it again.

        Raises:
            ConfigurationError: it cannot be reached, or lets nobody write.
        """
        if self.kv is None:
            return
        try:
            await self.kv.put("check", {}, collection="mcp_oauth_check", ttl=60)
            await self.kv.delete("check", collection="mcp_oauth_check")
        except StoreUnavailable as error:
            raise ConfigurationError(
                f"The store {self.place} cannot be used: {_reason(error.__cause__)}.",
                hint=f"Check --store or {URL_VARIABLE}, and that the store runs and lets this user write.",
            ) from None

    async def aclose(self) -> None:
        """Close its connections."""
        await self._close()

    def __repr__(self) -> str:
        return f"SharedStore({self.place!r})"


class TypedErrors(BaseWrapper):
    """A store whose failures are all `StoreUnavailable`.

    Args:
        key_value: the store.
        place: what may be shown of its address.
        failures: what it raises.
        list_keys: finds all keys that begin with a text.
    """

    def __init__(
        self,
        key_value: AsyncKeyValue,
        place: str,
        failures: tuple[type[Exception], ...],
        list_keys: Callable[[str], Awaitable[list[str]]],
    ):
        self.key_value = key_value
        self._place = place
        self._failures: tuple[type[Exception], ...] = (*failures, BaseKeyValueError)
        self._list_keys = list_keys

    async def get(self, key: str, *, collection: str | None = None) -> dict[str, Any] | None:
        """Return a record, or None."""
        with self._typed():
            try:
                return await self.key_value.get(key, collection=collection)
            except DeserializationError:
                # Whoever reads it finds nothing sealed inside, and says so.
                return {}

    async def put(
        self, key: str, value: Mapping[str, Any], *, collection: str | None = None, ttl: SupportsFloat | None = None
    ) -> None:
        """Store a record."""
        with self._typed():
            await self.key_value.put(key, value, collection=collection, ttl=ttl)

    async def delete(self, key: str, *, collection: str | None = None) -> bool:
        """Remove a record; say whether it was this call that did."""
        with self._typed():
            return await self.key_value.delete(key, collection=collection)

    async def keys(self, collection: str | None = None, *, limit: int | None = None) -> list[str]:
        """Return every key of a collection: the stores' own listing stops at some page, or is not there."""
        prefix = f"{collection}::"
        with self._typed():
            return [key.removeprefix(prefix) for key in await self._list_keys(prefix)][:limit]

    @contextlib.contextmanager
    def _typed(self) -> Iterator[None]:
        try:
            yield
        except self._failures as error:
            raise StoreUnavailable(f"The store {self._place} does not answer.") from error

    def __repr__(self) -> str:
        return f"TypedErrors({self._place!r})"


def open_store(url: str | None) -> SharedStore:
    """Open a store; nothing is connected before it is used.

    Args:
        url: `memory` (so is None), a directory or `disk:///directory`, `redis://[user:password@]host:port/number`,
            or the same with `rediss` for TLS.

    Raises:
        ConfigurationError: there is no such store, or what it needs is not installed.
    """
    if url is None or url in ("memory", "memory://"):
        return SharedStore("memory")
    scheme, separator, rest = url.partition("://")
    if not separator:
        # Else a password would become the name of a directory, and be shown. One letter is a drive of Windows.
        if mistyped := re.match(r"[a-z][a-z0-9+.\-]+:", url, re.IGNORECASE):
            raise ConfigurationError(
                f"The store begins with {mistyped[0]}, and its two slashes are missing.",
                hint=f"{_KINDS}. If a directory is called so, write ./ before it.",
            )
        return _on_disk(Path(url))
    if scheme == "disk":
        return _on_disk(Path(unquote(rest)))
    if scheme in ("redis", "rediss"):
        return _in_redis(url)
    raise ConfigurationError(f"There is no store of the kind {scheme}.", hint=f"{_KINDS}.")


def configured_url() -> str | None:
    """Return `STORE_URL`, from the environment or `.env`: a password there is not in the list of processes."""
    return DeploymentSettings().store_url


def encryption_key(given: str | None = None) -> bytes | None:
    """Return the key from `STORE_ENCRYPTION_KEY`, in the environment or `.env`; None if it is not set.

    Args:
        given: the text, instead of the variable's.

    Raises:
        ConfigurationError: it is not 32 bytes or more in base64 or hexadecimal.
    """
    return key_from(given, KEY_VARIABLE)


def required_key(store: SharedStore) -> bytes | None:
    """Return the key for a store; None for one in memory, which nobody else can read or find again.

    Raises:
        ConfigurationError: the store outlives this process and no key is set, or not a good one.
    """
    key = encryption_key()
    if key is None and store.kv is not None:
        raise ConfigurationError(
            f"The store {store.place} needs an encryption key, and {KEY_VARIABLE} is not set.",
            variables=(KEY_VARIABLE,),
            hint=f"Make one, give it to every worker, and keep it: {KEY_COMMAND}",
        )
    return key


# -- Redis -----------------------------------------------------------------------------------------------------------


def _in_redis(url: str) -> SharedStore:
    try:
        from key_value.aio.stores.redis import RedisStore
        from limits.aio.storage import RedisStorage
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import ConstantBackoff
        from redis.exceptions import RedisError
    except ImportError:
        raise _not_installed("redis") from None
    place = _redis_place(url)
    # Once more, for a connection that Redis has closed while it was idle. A delete that is sent twice finds nothing the
    # second time, and so whoever asked loses: to sign in again is the worst that comes of it.
    options: dict[str, Any] = {
        # For a free connection, if all are in use.
        "timeout": _TIMEOUT_SECONDS,
        "socket_timeout": _TIMEOUT_SECONDS,
        "socket_connect_timeout": _TIMEOUT_SECONDS,
        "retry": Retry(ConstantBackoff(0.05), 1),
    }

    class Client(Redis):
        async def setex(self, name: Any, time: Any, value: Any) -> Any:
            """Do what RedisStore asks for, in the way that redis has not deprecated."""
            return await self.set(name, value, ex=time)

    pool: Any = BlockingConnectionPool.from_url(url, decode_responses=True, **options)
    client = Client(connection_pool=pool)
    # limits reads a URL in its own way, so it gets the connections instead.
    counts: Any = BlockingConnectionPool.from_url(url, **options)
    rates = RedisStorage(
        place, wrap_exceptions=True, implementation="redispy", key_prefix="mcp_oauth_rates", connection_pool=counts
    )

    async def list_keys(prefix: str) -> list[str]:
        return [key async for key in client.scan_iter(match=f"{prefix}*", count=1000)]

    async def close() -> None:
        await pool.aclose()
        await counts.aclose()

    kv = TypedErrors(RedisStore(client=client), place, (RedisError, OSError), list_keys)
    return SharedStore(place, kv, rates, close)


def _redis_place(url: str) -> str:
    """Return the address without user name and password; what cannot be told apart for certain is not shown."""
    parts = _redis_parts(url)
    if parts is None:
        scheme = url.partition("://")[0]
        raise ConfigurationError(
            f"The {scheme} URL of the store cannot be read.",
            hint=f"It is {scheme}://[user:password@]host:port/number; in user and password, write / ? # @ : as %2F "
            "%3F %23 %40 %3A.",
        )
    for secret in (parts.password, unquote(parts.password or "")):
        remember(secret)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or 6379}{parts.path if parts.path != '/' else ''}"


def _redis_parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.port != 0 and (parts.path in ("", "/") or parts.path[1:].isdecimal())
    except ValueError:
        return None
    return parts if good and not parts.query and not parts.fragment else None


# -- a directory -----------------------------------------------------------------------------------------------------


def _on_disk(directory: Path) -> SharedStore:
    try:
        from diskcache import Cache, Timeout
        from key_value.aio.stores.disk import DiskStore
    except ImportError:
        raise _not_installed("disk") from None
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = directory.stat().st_mode
        if os.name == "posix" and mode & (stat.S_IWGRP | stat.S_IWOTH):
            # What is read from there is trusted to have been written by us: it may be a pickle.
            raise ConfigurationError(
                f"Other users may write to the store {directory} (mode {stat.S_IMODE(mode):04o}).",
                hint=f"Run: chmod 700 {directory}",
            )
        # diskcache leaves a database open that it cannot use.
        with contextlib.closing(sqlite3.connect(directory / "cache.db")) as database:
            database.execute("PRAGMA schema_version")
        # It opens the database for itself: one that it is given it would not take while that is empty.
        store = DiskStore(directory=directory)
        untyped: Any = Cache
        cache = untyped(str(directory), eviction_policy="none", timeout=_TIMEOUT_SECONDS)
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else "it holds no database of ours"
        raise ConfigurationError(
            f"The store {directory} cannot be used: {why}.", hint="Name a directory that this user may write to."
        ) from None

    async def list_keys(prefix: str) -> list[str]:
        return [key for key in cache.iterkeys() if isinstance(key, str) and key.startswith(prefix)]

    async def close() -> None:
        cache.close()
        await store.close()

    kv = TypedErrors(store, str(directory), (OSError, sqlite3.Error, Timeout), list_keys)
    return SharedStore(str(directory), kv, None, close)


# -- what went wrong -------------------------------------------------------------------------------------------------


def _not_installed(extra: str) -> ConfigurationError:
    return ConfigurationError(
        f"What the {extra} store needs is not installed.", hint=f"Run: pip install 'mcp-oauth-nb[{extra}]'"
    )


def _reason(cause: BaseException | None) -> str:
    """Say in our words why; the store's own may quote what it was sent."""
    names = {cls.__name__ for cls in type(cause).__mro__}
    if "AuthenticationError" in names:
        return "it does not accept the user name or password"
    if names & {"NoPermissionError", "ReadOnlyError"}:
        return "it does not let this user write"
    if names & {"ConnectionError", "TimeoutError"}:
        return "nothing answers there"
    return f"it fails with {type(cause).__name__}"
