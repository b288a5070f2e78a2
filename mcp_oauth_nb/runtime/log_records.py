"""Log records without the secrets that this package knows, faulty log calls included."""

from __future__ import annotations

import copy
import logging
import traceback
from collections.abc import Callable
from contextlib import suppress

from ..oauth.masking import scrub


class ScrubbingFormatter(logging.Formatter):
    """Masks every known secret in the finished line, tracebacks included, of any logger."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record and mask what must not be read; one that cannot be formatted is shown as it is, masked."""
        # `logging` itself would show everything of a record that cannot be formatted. A copy is changed, since other
        # handlers get the record too.
        record = copy.copy(record)
        mask_record(record)
        return scrub(super().format(record))


def mask_record(record: logging.LogRecord) -> None:
    """Mask a record, its traceback too; one that holds no secret stays as it is.

    A record that cannot be formatted gets its text here. `logging` would show all that it has of it, together with the
    error that was being handled.
    """
    if isinstance(record.args, tuple):
        # The arguments are masked one by one: an access log's formatter counts them.
        record.args = tuple(map(_masked_value, record.args))
    text = said(record.getMessage)
    if text is None:
        record.msg = text = f"{said(str, record.msg)} {said(repr, record.args)} (cannot be formatted)"
        record.args = None
    if (masked := scrub(text)) != text:
        record.msg, record.args = masked, None
    if record.stack_info:
        record.stack_info = scrub(record.stack_info)
    if record.exc_info and record.exc_info[1] is not None:
        text = "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")
        if (masked := scrub(text)) != text:
            record.exc_text, record.exc_info = masked, None


def said(say: Callable[..., str], *values: object) -> str | None:
    """Return the text that a function makes of the values; None if it fails, since its error may hold a secret."""
    with suppress(Exception):
        return say(*values)
    return None


def _masked_value(value: object) -> object:
    text = said(str, value)
    if text is None:
        return type(value).__name__
    masked = scrub(text)
    return value if masked == text else masked
