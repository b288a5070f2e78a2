"""A metadata document, held against what is known of its fields.

    for finding in check_document(document):
        print(finding.check)

A check here reads the document alone. Whether an endpoint answers, and what, is for the debugger.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .check import Check
from .masking import printable
from .metadata_fields import AUTHORIZATION_SERVER, FIELDS, PROTECTED_RESOURCE, Kind, MetadataField
from .metadata_rules import RuleContext, RuleVerdict, anything, quoted

_REFERENCES: dict[Kind, str] = {
    "authorization server": "RFC 8414 section 2",
    "protected resource": "RFC 9728 section 2",
}
#: Of how many unknown fields it is guessed what was meant; a guess looks at every field that is known.
_MOST_GUESSES = 100


@dataclass(frozen=True)
class Finding:
    """A field in one document: whether it is there, its value, and what it came to."""

    field: MetadataField
    present: bool
    value: Any
    check: Check


def kind_of(document: Mapping[str, Any]) -> Kind:
    """Say which of the two documents it is, by its fields."""
    resource_only = {field.name for field in PROTECTED_RESOURCE} - {field.name for field in AUTHORIZATION_SERVER}
    known = {field.name for field in AUTHORIZATION_SERVER} - {field.name for field in PROTECTED_RESOURCE}
    here = set(document)
    return "protected resource" if len(resource_only & here) > len(known & here) else "authorization server"


def check_document(document: Mapping[str, Any], kind: Kind | None = None, *, expected: str = "") -> tuple[Finding, ...]:
    """Judge every field that a document has or could have.

    Args:
        document: as `json.loads` returned it.
        kind: which of the two; found from its fields if not given.
        expected: the issuer that was asked for, or the URL of the MCP server, which the document must name.

    Returns:
        The known fields in the order of importance, then those that are not known here.
    """
    kind = kind or kind_of(document)
    context = RuleContext(document, expected)
    known = {field.name for field in FIELDS[kind]}
    unknown = [name for name in document if name not in known]
    fields = [_unknown(name, kind, _near(name, kind)) for name in unknown[:_MOST_GUESSES]]
    fields += [_unknown(name, kind) for name in unknown[_MOST_GUESSES:]]
    return tuple(_judge(field, context) for field in (*FIELDS[kind], *fields))


def check_field(document: Mapping[str, Any], kind: Kind, name: str) -> Check:
    """Judge one field that is known; what else is in the document costs nothing.

    Args:
        document: as `json.loads` returned it.
        kind: which of the two.
        name: the field's.
    """
    field = next(field for field in FIELDS[kind] if field.name == name)
    return _judge(field, RuleContext(document)).check


def _judge(field: MetadataField, context: RuleContext) -> Finding:
    present = field.name in context.document
    value = context.document.get(field.name)
    if present and value is None:
        verdict = RuleVerdict("warning", "It is null, which no section defines.", "left out, or a value")
    else:
        verdict = field.test(value, context) if present else field.absent(context)
    check = Check(field.name, verdict.outcome, verdict.message, verdict.should, field.reference)
    return Finding(field, present, value, check)


def _near(name: str, kind: Kind) -> str:
    """Return the known field whose name is most like this one, or nothing if none is."""
    return next(iter(difflib.get_close_matches(name, [field.name for field in FIELDS[kind]], cutoff=0.85)), "")


def _unknown(name: str, kind: Kind, near: str = "") -> MetadataField:
    plain, marked, language = name.partition("#")
    base = next((field for field in FIELDS[kind] if marked and field.name == plain), None)
    if base is not None:
        return MetadataField(
            name, f"{base.meaning} In the language {printable(language, 20)}.", base.reference, base.test
        )
    if near:
        verdict = RuleVerdict("warning", f"No section defines {quoted(name)}: nobody will read it.", near)
        return MetadataField(name, f"Perhaps `{near}` is meant.", _REFERENCES[kind], lambda *_: verdict)
    meaning = "Not a field that is known here. Whoever does not understand it leaves it aside."
    return MetadataField(name, meaning, _REFERENCES[kind], anything)
