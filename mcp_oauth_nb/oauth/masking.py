"""How secrets are shown: masked, but recognisable, so that one token can be followed through a trace.

The mask keeps identity, not content: `gho_****3f2a` is the public prefix and 16 bits of a hash. The
same secret has the same mask on every run, which keeps notebooks byte-identical; 16 bits tell nothing
about a value of 80 random bits or more, and anything short enough to be guessed gets no suffix at all.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from .secret_index import SHORTEST, SHORTEST_PIECE, Index
from .secret_memory import Memory

K = TypeVar("K")
V = TypeVar("V")

_HASH_KEY = b"mcp_oauth_nb mask v1"
_SHORTEST_WITH_SUFFIX = 20

_PREFIX = re.compile(r"(?:gh[opusr]_|github_pat_|mcp_)")
#: What `mask` returns for a secret.
MASK = re.compile(_PREFIX.pattern + r"?\*{4}(?:[0-9a-f]{4}(?![0-9a-f]))?")

#: Names whose values are secret in OAuth: in forms, JSON, query strings, headers.
SECRET_NAMES = frozenset(
    "access_token refresh_token client_secret code code_verifier device_code state id_token assertion "
    "client_assertion registration_access_token password token token_last_eight authorization cookie set-cookie "
    "proxy-authorization x-csrf-token mcp-session-id".split()
)
#: The same for JSON-RPC, where `code` is an error number, or source code that a tool is to analyse.
JSONRPC_SECRET_NAMES = SECRET_NAMES - {"code", "state"}

# What a token looks like in free text, for texts that nobody handed to us field by field.
_SHAPES = re.compile(
    r"\b(?:gh[opusr]_[A-Za-z0-9]{16,}|github_pat_\w{16,})"
    # Not the parameters of a challenge: in a token, `=` stands at the end only.
    r"|(?<=[Bb]earer )(?!\w+=[\"\w])[A-Za-z0-9\-._~+/]{12,}=*"
    # Not what is a mask already: its prefix would be masked again.
    r"|(?:(?<=code_verifier=)|(?<=client_secret=)|(?<=_token=)|(?<=[?&]code=))[\w\-.~%]++(?!\*)"
)

# One of these stands in all that has such a shape. To look for them is quicker, and most texts have none.
_MARKS = ("gho_", "ghp_", "ghu_", "ghs_", "ghr_", "github_pat_", "earer ", "verifier=", "secret=", "_token=", "code=")

# Where a library shortened a text: pydantic and IPython's verbose tracebacks keep up to 48 characters on either side.
# All dots in a row: a piece may end, or begin, with one of its own.
_CUT = re.compile(r"(\.{3,}|…)")

# A finalizer may run wherever memory is taken, in a scrub too, and log something that is to be scrubbed.
_lock = threading.RLock()
_memory = Memory()


def mask(secret: str) -> str:
    """Return the form in which a secret may be shown; of a mask, the mask."""
    if not secret or MASK.fullmatch(secret):
        return secret
    prefix = match.group() if (match := _PREFIX.match(secret)) else ""
    if len(secret) < _SHORTEST_WITH_SUFFIX:
        return f"{prefix}****"
    digest = hashlib.blake2b(secret.encode("utf-8", "surrogatepass"), key=_HASH_KEY, digest_size=2)
    return f"{prefix}****{digest.hexdigest()}"


def remember(secret: str | None) -> None:
    """Note a secret that was configured, or that a person handed over: it is found in any text for good.

    A server must not call this for what comes with a request: see `remember_made` and `remember_heard`.
    """
    if _is_worth_it(secret):
        with _lock:
            _memory.keep(secret)


def remember_made(secret: str | None) -> None:
    """Note a secret that was made for one request or one authorization, or that came in a genuine answer to one.

    The newest 10,000 are kept, or 1,000,000 characters of them. They displace no others, and no peer displaces them.
    """
    if _is_worth_it(secret):
        with _lock:
            _memory.make(secret)


def remember_heard(*secrets: str | None) -> None:
    """Note what a peer said, who may say many, and may say what is ours.

    The newest 10,000 are kept, or 1,000,000 characters of them. They displace no others.
    """
    with _lock:
        _memory.hear(filter(_is_worth_it, secrets))


class Secret(str):
    """A secret that an object keeps: as a text it is what it is; in its `repr`, and in that of others, it is a mask.

    It is known everywhere for as long as somebody has it, and then counts as one that was made for a request.
    """

    __slots__ = ()

    def __new__(cls, secret: str) -> Secret:
        """Remember it, and mask it from now on."""
        # A plain copy is remembered: this one would have itself to thank for being there.
        plain = str(secret)
        if _is_worth_it(plain):
            with _lock:
                _memory.hold(plain)
        return super().__new__(cls, plain)

    def __repr__(self) -> str:
        return repr(mask(str(self)))

    def __del__(self) -> None:
        plain = str(self)
        if _is_worth_it(plain):
            with _lock:
                _memory.release(plain)


class SecretUrl(str):
    """A URL with a secret in it, which its `repr` masks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(mask_url(str(self)))


class Hidden(OrderedDict[K, V]):
    """A mapping of which nothing is shown but its length."""

    def __repr__(self) -> str:
        return f"({len(self)} entries)"


def remembered() -> set[str]:
    """Return every secret that is remembered, in clear: for tests that look for them."""
    with _lock:
        return _memory.all()


def _is_worth_it(secret: str | None) -> TypeGuard[str]:
    return secret is not None and len(secret) >= SHORTEST and not MASK.fullmatch(secret)


def scrub(text: str) -> str:
    """Mask every remembered secret in a text, and everything that has the shape of a token."""
    if len(text) < SHORTEST_PIECE:
        return text
    with _lock:
        text = _masked_known(text)
        if _may_be_cut(text):
            text = _without_pieces(text, _memory.index)
    return _SHAPES.sub(lambda match: mask(match.group()), text) if _may_have_shapes(text) else text


def is_clean(text: str) -> bool:
    """Say whether `scrub` would leave a text, and each part of it that ends at a line break, as it is."""
    with _lock:
        if _may_be_cut(text) or any(_memory.index.found(text)):
            return False
    return not (_may_have_shapes(text) and _SHAPES.search(text))


def _may_be_cut(text: str) -> bool:
    return "..." in text or "…" in text


def _may_have_shapes(text: str) -> bool:
    return any(mark in text for mark in _MARKS)


def _masked_known(text: str) -> str:
    with _lock:
        return "".join(_without_known(text, _memory.index))


def _without_known(text: str, index: Index) -> Iterator[str]:
    """Give the pieces of a text, every known secret masked."""
    done = 0
    for at, form in index.found(text):
        yield text[done:at]
        yield mask(index.secrets[form])
        done = at + len(form)
    yield text[done:]


def _without_pieces(text: str, index: Index) -> str:
    """Mask what is left of a secret where somebody wrote `...` for the rest of it."""
    # Text, cut, text, cut, text.
    parts = _CUT.split(text)
    for at in range(0, len(parts) - 2, 2):
        if (beginning := index.beginning_at_the_end_of(parts[at])) is not None:
            start, form = beginning
            # The public prefix is no piece of the secret.
            public = match.end() if (match := _PREFIX.match(form)) else 0
            if len(parts[at]) - start >= SHORTEST_PIECE + public:
                parts[at] = parts[at][:start] + mask(index.secrets[form])
        if (ending := index.end_at_the_beginning_of(parts[at + 2])) is not None:
            end, form = ending
            parts[at + 2] = mask(index.secrets[form]) + parts[at + 2][end:]
    return "".join(parts)


def printable(text: str, limit: int = 200) -> str:
    """Escape what could disturb a terminal or mislead a reader (control and bidi characters), and cut it.

    Secrets that this package knows are masked: a server may echo what it was sent.
    """
    text = scrub(text)
    return escape(text if len(text) <= limit else text[: limit - 1] + "…")


def escape(text: str) -> str:
    """Escape control and bidi characters, the end of a line too."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def is_secret_name(name: str) -> bool:
    """Say whether a field, parameter or header of this name holds a secret."""
    return name.lower() in SECRET_NAMES


class TooLong(ValueError):
    """A value has more text than is to be shown."""


def mask_fields(value: Any, names: frozenset[str] = SECRET_NAMES, *, most: int | None = None) -> Any:
    """Copy a JSON value with every secret field masked.

    Args:
        value: what `json.loads` returns.
        names: the names of secret fields, in lower case.
        most: how many characters of text there may be.

    Raises:
        TooLong: there are more.
    """
    texts: list[str] = []
    secrets: list[str] = []
    _read(value, names, texts, secrets)
    whole = "\n".join(texts)
    if most is not None and len(whole) + sum(map(len, secrets)) > most:
        raise TooLong
    # First all of them, so that a secret is known where it stands before, or without, its name.
    remember_heard(*secrets)
    # Most values have nothing to hide, which is seen sooner in all the texts at once than in each.
    clean = is_clean(whole)
    return _copied(value) if clean and not secrets else _masked(value, names, _unchanged if clean else scrub)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) if isinstance(item, _CONTAINERS) else item for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(item) if isinstance(item, _CONTAINERS) else item for item in value]
    return value


_CONTAINERS = (dict, list, tuple)


def _unchanged(text: str) -> str:
    return text


def _read(value: Any, names: frozenset[str], texts: list[str], secrets: list[str], secret: bool = False) -> None:
    """Tell the texts of a value apart: those of secret fields, and the others, names and numbers too."""
    if isinstance(value, dict):
        for key, item in value.items():
            name = str(key)
            texts.append(name)
            if (here := name.lower() in names) or not isinstance(item, str):
                _read(item, names, texts, secrets, here)
            else:
                texts.append(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _read(item, names, texts, secrets, secret)
    elif isinstance(value, str):
        (secrets if secret else texts).append(value)
    elif isinstance(value, int):
        texts.append(str(value))


def _masked(value: Any, names: frozenset[str], shown: Callable[[str], str], secret: bool = False) -> Any:
    if isinstance(value, str):
        return mask(value) if secret else shown(value)
    if isinstance(value, dict):
        # A peer may echo a secret as a name, too.
        return {
            _masked(key, names, shown): _masked(item, names, shown, str(key).lower() in names)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_masked(item, names, shown, secret) for item in value]
    if isinstance(value, int) and (text := shown(str(value))) != str(value):
        return text
    return value


def mask_form(text: str) -> str:
    """Mask the secret parameters of a query string or form body; the others stay as they were."""
    return urlencode(
        [(scrub(name), mask(value) if is_secret_name(name) else scrub(value)) for name, value in form_pairs(text)],
        safe="*:/@,",
        errors="surrogatepass",
    )


def form_pairs(text: str) -> list[tuple[str, str]]:
    """Read a query string or form body, known secrets masked; the secret parameters are yet to be."""
    # Before it is read: of a secret that nobody quoted, `+` is read as a space, and `&` as the end of the value.
    return parse_qsl(_masked_known(text), keep_blank_values=True)


def mask_url(url: str) -> str:
    """Mask a URL's user information, and the secret parameters of its query and fragment."""
    # Before it is taken apart: a secret may be, or be cut, in any part of it.
    url = _masked_known(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        # Whatever it is, a peer wrote it and it must not break the recording.
        return scrub(re.split(r"[?#]", url)[0])
    host = parts.netloc.rpartition("@")[2]
    netloc = f"****@{host}" if "@" in parts.netloc else host
    fragment = mask_form(parts.fragment) if "=" in parts.fragment else scrub(parts.fragment)
    return urlunsplit((parts.scheme, netloc, scrub(parts.path), mask_form(parts.query), fragment))


def mask_header(name: str, value: str) -> str:
    """Mask a header's value: a scheme such as `Bearer` stays readable, a URL keeps its address."""
    return _masked_header(name.lower(), value, scrub)


def mask_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Mask headers, and write their names in lower case."""
    items = [(name.lower(), value) for name, value in headers.items()]
    shown = _unchanged if is_clean("\n".join(part for item in items for part in item)) else scrub
    return {shown(name): _masked_header(name, value, shown) for name, value in items}


def _masked_header(name: str, value: str, shown: Callable[[str], str]) -> str:
    if name in ("authorization", "proxy-authorization"):
        scheme, space, credentials = value.partition(" ")
        return f"{scheme} {mask(credentials)}" if space else mask(value)
    if name in ("location", "content-location", "referer"):
        return mask_url(value)
    return mask(value) if name in SECRET_NAMES else shown(value)
