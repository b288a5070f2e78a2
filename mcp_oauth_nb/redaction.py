"""How secrets are shown: masked, but recognisable, so that one token can be followed through a trace.

The mask keeps identity, not content: `gho_****3f2a` is the public prefix and 16 bits of a hash. The
same secret has the same mask on every run, which keeps notebooks byte-identical; 16 bits tell nothing
about a value of 80 random bits or more, and anything short enough to be guessed gets no suffix at all.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from .secret_forms import forms

_HASH_KEY = b"mcp_oauth_nb mask v1"
_SHORTEST_WITH_SUFFIX = 20
# Shorter values are not remembered: masking every "repo" in a text would hide more than it protects.
_SHORTEST_REMEMBERED = 12
_MOST_REMEMBERED = 10_000

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

# Where a library shortened a text: pydantic and IPython's verbose tracebacks keep up to 48 characters on either side.
# All dots in a row: a piece may end, or begin, with one of its own.
_CUT = re.compile(r"(\.{3,}|…)")
# Fewer characters of a secret, beside such a cut, are left to stand: they are as likely to be an ordinary word.
_SHORTEST_PIECE = 8

# A finalizer may run wherever memory is taken, in a scrub too, and log something that is to be scrubbed.
_lock = threading.RLock()
# secret -> how it may be written: what was handed to this package or made by it, and what others said.
_known: OrderedDict[str, frozenset[str]] = OrderedDict()
_heard: OrderedDict[str, frozenset[str]] = OrderedDict()
# The same for a search that takes no longer the more there are: form -> secret, and their first characters -> how many
# forms of each length begin so.
_forms: dict[str, str] = {}
_starts: dict[str, Counter[int]] = {}


def mask(secret: str) -> str:
    """Return the form in which a secret may be shown; of a mask, the mask."""
    if not secret or MASK.fullmatch(secret):
        return secret
    prefix = match.group() if (match := _PREFIX.match(secret)) else ""
    if len(secret) < _SHORTEST_WITH_SUFFIX:
        return f"{prefix}****"
    digest = hashlib.blake2b(secret.encode("utf-8", "surrogatepass"), key=_HASH_KEY, digest_size=2)
    return f"{prefix}****{digest.hexdigest()}"


def remember(secret: str | None, *, heard: bool = False) -> None:
    """Note a secret, so that `scrub` finds it in any text. The newest 10,000 are kept, in memory only.

    Args:
        heard: whether a peer said it, who may say many: they are counted by themselves, and displace no others.
    """
    if secret is None or len(secret) < _SHORTEST_REMEMBERED or MASK.fullmatch(secret):
        return
    with _lock:
        here, there = (_heard, _known) if heard and secret not in _known else (_known, _heard)
        if secret in there:
            here[secret] = there.pop(secret)
        elif secret not in here:
            here[secret] = forms(secret)
            for form in here[secret]:
                _forms[form] = secret
                _starts.setdefault(form[:_SHORTEST_REMEMBERED], Counter())[len(form)] += 1
        here.move_to_end(secret)
        if len(here) > _MOST_REMEMBERED:
            _forget(*here.popitem(last=False))


def _forget(secret: str, written: Iterable[str]) -> None:
    for form in written:
        if _forms.get(form) == secret:
            del _forms[form]
        lengths = _starts[form[:_SHORTEST_REMEMBERED]]
        lengths[len(form)] -= 1
        if not lengths[len(form)]:
            del lengths[len(form)]
        if not lengths:
            del _starts[form[:_SHORTEST_REMEMBERED]]


def scrub(text: str) -> str:
    """Mask every remembered secret in a text, and everything that has the shape of a token."""
    with _lock:
        text = "".join(_without_known(text))
        if _CUT.search(text):
            text = _without_pieces(text, *_pieces(list(_forms)))
    return _SHAPES.sub(lambda match: mask(match.group()), text)


def _masked_known(text: str) -> str:
    with _lock:
        return "".join(_without_known(text))


def _without_known(text: str) -> Iterator[str]:
    """Give the pieces of a text, every known secret masked."""
    done, end = 0, len(text) - _SHORTEST_REMEMBERED + 1
    while (at := next((i for i in range(done, end) if text[i : i + _SHORTEST_REMEMBERED] in _starts), end)) < end:
        forms = (text[at : at + length] for length in list(_starts[text[at : at + _SHORTEST_REMEMBERED]]))
        # The longest, in case one secret begins with another.
        form = max((form for form in forms if form in _forms), key=len, default=None)
        yield text[done:at]
        yield mask(_forms[form]) if form is not None else text[at]
        done = at + (len(form) if form is not None else 1)
    yield text[done:]


#: Forms of secrets by how they begin, or end.
_Pieces = dict[str, list[str]]


def _pieces(forms: Iterable[str]) -> tuple[_Pieces, _Pieces]:
    beginnings: _Pieces = {}
    ends: _Pieces = {}
    for form in forms:
        beginnings.setdefault(form[:_SHORTEST_PIECE], []).append(form)
        ends.setdefault(form[-_SHORTEST_PIECE:], []).append(form)
    return beginnings, ends


def _without_pieces(text: str, beginnings: _Pieces, ends: _Pieces) -> str:
    """Mask what is left of a secret where somebody wrote `...` for the rest of it."""
    # Text, cut, text, cut, text.
    parts = _CUT.split(text)
    for at in range(0, len(parts) - 2, 2):
        parts[at] = _without_beginning(parts[at], beginnings)
        parts[at + 2] = _without_end(parts[at + 2], ends)
    return "".join(parts)


def _without_beginning(text: str, beginnings: _Pieces) -> str:
    for start in range(len(text) - _SHORTEST_PIECE + 1):
        for form in beginnings.get(text[start : start + _SHORTEST_PIECE], ()):
            # The public prefix is no piece of the secret.
            shortest = _SHORTEST_PIECE + (match.end() if (match := _PREFIX.match(form)) else 0)
            if shortest <= len(text) - start <= len(form) and form.startswith(text[start:]):
                return text[:start] + mask(_forms[form])
    return text


def _without_end(text: str, ends: _Pieces) -> str:
    for end in range(len(text), _SHORTEST_PIECE - 1, -1):
        for form in ends.get(text[end - _SHORTEST_PIECE : end], ()):
            if end <= len(form) and form.endswith(text[:end]):
                return mask(_forms[form]) + text[end:]
    return text


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


def mask_fields(value: Any, names: frozenset[str] = SECRET_NAMES) -> Any:
    """Copy a JSON value with every secret field masked.

    Args:
        value: what `json.loads` returns.
        names: the names of secret fields, in lower case.
    """
    # First all of them, so that a secret is known where it stands before, or without, its name.
    _learn(value, names)
    return _masked(value, names)


def _learn(value: Any, names: frozenset[str], secret: bool = False) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _learn(item, names, str(key).lower() in names)
    elif isinstance(value, list | tuple):
        for item in value:
            _learn(item, names, secret)
    elif secret and isinstance(value, str):
        remember(value, heard=True)


def _masked(value: Any, names: frozenset[str], secret: bool = False) -> Any:
    if isinstance(value, Mapping):
        # A peer may echo a secret as a name, too.
        return {_masked(key, names): _masked(item, names, str(key).lower() in names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item, names, secret) for item in value]
    if isinstance(value, str):
        return mask(value) if secret else scrub(value)
    if isinstance(value, int) and (shown := scrub(str(value))) != str(value):
        return shown
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
    lowered = name.lower()
    if lowered in ("authorization", "proxy-authorization"):
        scheme, space, credentials = value.partition(" ")
        return f"{scheme} {mask(credentials)}" if space else mask(value)
    if lowered in ("location", "referer"):
        return mask_url(value)
    return mask(value) if is_secret_name(name) else scrub(value)
