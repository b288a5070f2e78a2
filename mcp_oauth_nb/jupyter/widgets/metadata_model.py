"""The logic of the metadata explorer: documents that can be searched, changed and judged anew."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from traitlets import Dict, Enum, HasTraits, Unicode

from ...client.session import Session
from ...lab.lab import Lab
from ...oauth.check import SIGNS, Outcome
from ...oauth.discovery import DiscoveredAuthorizationServer, DiscoveredResource, Discovery
from ...oauth.masking import mask_fields
from ...oauth.metadata_fields import FIELDS, Kind
from ...oauth.metadata_findings import Finding, check_document, kind_of


@dataclass(frozen=True)
class Change:
    """What an edit did to a field: the result of its check before and now."""

    name: str
    before: Outcome
    after: Outcome

    def __str__(self) -> str:
        return f"{self.name}: {SIGNS[self.before]} {self.before} → {SIGNS[self.after]} {self.after}"


class MetadataModel(HasTraits):
    """One or two metadata documents, the check of each field, and what an edit changes.

    Args:
        source: a document as a dictionary or one of the SDK's models, what `discover` and its kin return, or a `Lab`
            or `Session`, whose server advertised one.
        kind: which of the two documents a dictionary is; found from its fields if not given.
        expected: the issuer that was asked for, or the URL of the MCP server; a discovery knows it.

    Raises:
        TypeError: there is no document in the source.

    Attributes:
        kind: which document is shown; assign to it to switch.
        document: that document, with the edits, and with every secret masked.
        filter: only fields with this text in name, meaning, reference, value or outcome are shown.
        field: the name of the field that is shown in detail.
        error: why the last text was not taken as a value; empty otherwise.
    """

    kind = Enum(list(FIELDS))
    document = Dict()
    filter = Unicode()
    field = Unicode()
    error = Unicode()

    def __init__(self, source: Any, *, kind: Kind | None = None, expected: str = ""):
        super().__init__()
        found = _documents(source, kind, expected)
        self._originals = {name: mask_fields(document) for name, (document, _) in found.items()}
        self._expected = {name: asked for name, (_, asked) in found.items()}
        self._edited: dict[Kind, dict[str, Any]] = copy.deepcopy(self._originals)
        self.kind = next(iter(found))
        self._show()
        self.observe(lambda _: self._show(), "kind")
        self.observe(lambda _: self.set_trait("error", ""), "field")

    def _show(self) -> None:
        with self.hold_trait_notifications():
            self.document, self.error = self._edited[self.kind], ""
            self.field = FIELDS[self.kind][0].name

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The documents that there are."""
        return tuple(self._originals)

    # -- what there is to see --------------------------------------------------------------------------------------

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every field of the document that is shown: first those that matter, then those that may be missing."""
        found = check_document(self.document, self.kind, expected=self._expected[self.kind])
        return tuple(sorted(found, key=lambda finding: not matters(finding)))

    @property
    def visible(self) -> tuple[Finding, ...]:
        """The findings that the filter lets through."""
        wanted = self.filter.strip().lower()
        return tuple(finding for finding in self.findings if wanted in _searchable(finding))

    @property
    def selected(self) -> Finding:
        """The finding of the field that is shown in detail; a name that is nowhere counts as an absent field."""
        for finding in self.findings:
            if finding.field.name == self.field:
                return finding
        return self.findings[0]

    @property
    def counts(self) -> Mapping[Outcome, int]:
        """How many fields passed, failed, and so on."""
        return Counter(finding.check.outcome for finding in self.findings)

    @property
    def changes(self) -> tuple[Change, ...]:
        """The checks whose results differ from those of the document before all edits."""
        original = self._originals[self.kind]
        before = check_document(original, self.kind, expected=self._expected[self.kind])
        outcomes = {finding.field.name: finding.check.outcome for finding in before}
        now = {finding.field.name: finding.check.outcome for finding in self.findings}
        names = dict.fromkeys([*outcomes, *now])
        pairs = ((name, outcomes.get(name, _NEW), now.get(name, _NEW)) for name in names)
        return tuple(Change(name, old, new) for name, old, new in pairs if old != new)

    @property
    def edited(self) -> bool:
        """Whether the document is not as it was."""
        return bool(self.document != self._originals[self.kind])

    # -- what if ---------------------------------------------------------------------------------------------------

    def set(self, name: str, value: Any) -> Finding:
        """Give a field another value, and return the finding on it. Nothing is sent anywhere."""
        self._replace({**self.document, name: value}, name)
        return self.selected

    def set_text(self, name: str, text: str) -> Finding:
        """The same with a value as a person writes it: JSON, or a string without its quotes.

        Raises:
            ValueError: the text begins like JSON and is not; `error` says where.
        """
        try:
            value = read_value(text)
        except ValueError as error:
            self.field = name
            self.error = str(error)
            raise
        return self.set(name, value)

    def remove(self, name: str) -> Finding:
        """Leave a field out, and return the finding on it."""
        self._replace({key: value for key, value in self.document.items() if key != name}, name)
        return self.selected

    def restore(self) -> None:
        """Take back all edits of the document that is shown."""
        self._replace(copy.deepcopy(self._originals[self.kind]), self.field)

    def _replace(self, document: dict[str, Any], name: str) -> None:
        with self.hold_trait_notifications():
            self._edited[self.kind] = self.document = mask_fields(document)
            self.field, self.error = name, ""

    def __repr__(self) -> str:
        return f"MetadataModel({self.summary})"

    @property
    def summary(self) -> str:
        """One line: the document, and how many fields passed, failed, and so on."""
        counts = self.counts
        told = (f"{counts[outcome]} {outcome}" for outcome in ("passed", "warning", "failed") if counts.get(outcome))
        edits = len(self.changes)
        return f"{self.kind}: {', '.join(told) or 'nothing known'}" + (f"; {edits} changed by edits" if edits else "")


_NEW: Outcome = "not applicable"


def matters(finding: Finding) -> bool:
    """Say whether a field is there, or should be."""
    return finding.present or finding.check.outcome in ("failed", "warning")


def _searchable(finding: Finding) -> str:
    value = json.dumps(finding.value, ensure_ascii=False) if finding.present else ""
    field, outcome = finding.field, finding.check.outcome
    return " ".join((field.name, field.meaning, field.reference, value, outcome)).lower()


def read_value(text: str) -> Any:
    """Read a value as a person writes it: JSON, or a string without its quotes.

    Raises:
        ValueError: it begins like JSON and is not.
    """
    text = text.strip()
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if text[:1] and text[0] not in '[{"':
            return text
        raise ValueError(f"This is not JSON: {error.msg} at character {error.pos + 1}.") from None
    except RecursionError:
        raise ValueError("This is not JSON: it nests too deep.") from None


def reads(text: str, value: Any) -> bool:
    """Say whether a text is read as this value."""
    with suppress(ValueError):
        return bool(read_value(text) == value)
    return False


def value_text(value: Any) -> str:
    """Write a value so that `read_value` reads it again."""
    return json.dumps(value, ensure_ascii=False)


# -- where documents come from ---------------------------------------------------------------------------------

_Found = dict[Kind, tuple[dict[str, Any], str]]


def _documents(source: Any, kind: Kind | None, expected: str) -> _Found:
    """Return the documents of a source, each with the name that was asked for."""
    if isinstance(source, Discovery):
        resource = _documents(source.resource, None, "") if source.resource is not None else {}
        return {**resource, **_documents(source.server, None, "")}
    if isinstance(source, DiscoveredResource):
        document = {**_plain(source.metadata)}
        # As it was written: a URL object may have another spelling.
        document["authorization_servers"] = [source.issuer, *document["authorization_servers"][1:]]
        return {"protected resource": (document, expected or source.server_url)}
    if isinstance(source, DiscoveredAuthorizationServer):
        document = {**_plain(source.metadata), "issuer": source.issuer}
        return {"authorization server": (document, expected or source.issuer)}
    if isinstance(source, Lab | Session):
        session = source.session if isinstance(source, Lab) else source
        return {"authorization server": (session.authorization_metadata or {}, expected)}
    document = _plain(source) if isinstance(source, BaseModel) else source
    if not isinstance(document, Mapping):
        raise TypeError(f"there is no metadata document in a {type(source).__name__}")
    return {kind or kind_of(document): (dict(document), expected)}


def _plain(metadata: BaseModel) -> dict[str, Any]:
    return metadata.model_dump(mode="json", exclude_unset=True, exclude_none=True)
