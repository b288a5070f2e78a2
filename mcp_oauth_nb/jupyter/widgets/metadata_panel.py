"""Metadata documents to look into: each field, what it means, its value and its check; and what if it were otherwise.

    explorer = MetadataExplorer(await discover(url))
    explorer                                                        # a list of fields, the detail beside it
    explorer.model.remove("code_challenge_methods_supported").check # the same by a line of code

Nothing here is sent anywhere: an edit changes the copy that is shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...oauth.check import SIGNS, Outcome
from ...oauth.metadata_fields import Kind
from ...oauth.metadata_findings import Finding
from ...oauth.text import json_text
from .metadata_model import MetadataModel, matters, reads, value_text
from .panel import (
    BREAK,
    WIDTH,
    Html,
    Panel,
    badge,
    block,
    code,
    column,
    element,
    folded,
    heading,
    joined,
    on_enter,
    paragraph,
    prose,
    quiet,
    row,
    status,
    stepping,
    table,
)

if TYPE_CHECKING:
    # ipywidgets is typed in part only.
    ipywidgets: Any
else:
    import ipywidgets

_TITLES: dict[Kind, str] = {
    "authorization server": "Authorization server (RFC 8414)",
    "protected resource": "Protected resource (RFC 9728)",
}


class MetadataExplorer(Panel):
    """A list of fields with a sign for each check, the detail of one beside it, and a field to change its value.

    Args:
        source, kind, expected: see `MetadataModel`.

    Attributes:
        model: the `MetadataModel` that is shown.
        document: chooses between the two documents, where there are two.
        filter: shows the fields with this text only.
        fields: the list; `previous` and `next` go through it, as the Enter key in the filter does.
        value: the value of the chosen field as JSON; the checks follow while one types.
        remove: leaves the field out.
        restore: takes all edits back.
    """

    model: MetadataModel
    by_code = 'panel.model.remove("issuer").check'

    def __init__(self, source: Any, *, kind: Kind | None = None, expected: str = ""):
        self.model = MetadataModel(source, kind=kind, expected=expected)
        options = [(_TITLES[name], name) for name in self.model.kinds]
        self.document = ipywidgets.ToggleButtons(
            options=options, style={"button_width": "auto"}, layout={"display": "" if len(options) > 1 else "none"}
        )
        self.filter = ipywidgets.Text(
            description="Filter",
            placeholder="name, meaning, value or outcome",
            style={"description_width": "45px"},
            layout={"width": "330px"},
        )
        # Its description has no room, and is its name for assistive technology.
        self.fields = ipywidgets.Select(
            description="Fields", rows=15, tooltip="Fields", style={"description_width": "0"}, layout={"width": "330px"}
        )
        self.previous, self.next = stepping(self.fields, "field")
        self.value = ipywidgets.Textarea(
            description="What if it were",
            placeholder="JSON, or a text without quotes",
            rows=2,
            style={"description_width": "100px"},
            layout={"width": "calc(100% - 4px)"},
        )
        self.remove = ipywidgets.Button(description="Leave it out", tooltip="Remove the field from this copy")
        self.restore = ipywidgets.Button(description="Undo edits", tooltip="Take back all edits of this document")
        self._counts, self._detail, self._changes = (ipywidgets.HTML() for _ in range(3))
        self.widget = self._laid_out()
        self._rendering = False
        self._connect()
        self._render()

    def _laid_out(self) -> Any:
        choosing = [self.filter, self.fields, row(self.previous, self.next), self._counts]
        editing = [self._detail, self.value, row(self.remove, self.restore), self._changes]
        sides = [
            ipywidgets.VBox(choosing, layout={"flex": "0 0 334px"}),
            ipywidgets.VBox(editing, layout={"flex": "1 1 350px", "min_width": "0", "padding": "0 0 0 12px"}),
        ]
        return column(self.document, ipywidgets.HBox(sides, layout={"max_width": WIDTH}))

    def _connect(self) -> None:
        self.document.observe(self._chosen("kind"), "value")
        self.filter.observe(self._chosen("filter"), "value")
        on_enter(self.filter, self.next.click)
        self.fields.observe(self._chosen("field"), "value")
        self.value.observe(self._edited, "value")
        self.remove.on_click(lambda _: self.model.remove(self.model.field))
        self.restore.on_click(lambda _: self.model.restore())
        self.model.observe(self._render)

    def _chosen(self, trait: str) -> Any:
        def chosen(change: dict[str, Any]) -> None:
            if not self._rendering and change["new"] is not None:
                self.model.set_trait(trait, change["new"])

        return chosen

    def _edited(self, change: dict[str, Any]) -> None:
        # While one types, the text is often not JSON yet: the model's `error` says so.
        if not self._rendering:
            with suppress(ValueError):
                self.model.set_text(self.model.field, change["new"])

    def _render(self, change: Any = None) -> None:
        # The changes of the widgets in here are not choices of the person.
        self._rendering = True
        try:
            self._render_list()
            self._render_value(change)
        finally:
            self._rendering = False
        self._counts.value = _counts(self.model)
        self._detail.value = _detail(self.model.selected)
        self._changes.value = _changes(self.model)

    def _render_list(self) -> None:
        self.document.value = self.model.kind
        self.filter.value = self.model.filter
        options = tuple((_label(finding), finding.field.name) for finding in self.model.visible)
        if tuple(self.fields.options) != options:
            self.fields.options = options
        names = [name for _, name in options]
        chosen = self.model.selected.field.name
        self.fields.value = chosen if chosen in names else None

    def _render_value(self, change: Any) -> None:
        finding = self.model.selected
        self.remove.disabled = not finding.present
        self.restore.disabled = not self.model.edited
        # The text that a person is typing stays as it is: only another value replaces it.
        replaced = change is None or change["name"] in ("kind", "document", "field")
        if replaced and not (finding.present and reads(self.value.value, finding.value)):
            self.value.value = value_text(finding.value) if finding.present else ""

    def _summary(self) -> str:
        return self.model.summary

    def _static_html(self) -> Html:
        parts = [heading(_TITLES[self.model.kind]), _counts(self.model)]
        shown = [finding for finding in self.model.visible if matters(finding)]
        others = [finding for finding in self.model.visible if not matters(finding)]
        parts.append(_table(shown))
        if others:
            parts.append(folded(f"{len(others)} more fields that it may have", _table(others)))
        return joined(*parts, _changes(self.model))


def _label(finding: Finding) -> str:
    name = finding.field.name
    return f"{SIGNS[finding.check.outcome]} {name if finding.present else f'({name})'}"


def _counts(model: MetadataModel) -> Html:
    outcomes: tuple[Outcome, ...] = ("passed", "warning", "failed")
    given = [badge(outcome, f"{model.counts[outcome]} {outcome}") for outcome in outcomes if model.counts.get(outcome)]
    return element("div", *(joined(pill, " ") for pill in given), role="status", style="margin:2px 0 6px")


def _detail(finding: Finding) -> Html:
    check = finding.check
    return joined(
        element("div", element("b", code(check.name)), " ", badge(check.outcome), style="margin:0 0 4px"),
        paragraph(prose(finding.field.meaning)),
        block(json_text(finding.value, 38)) if finding.present else "",
        status(prose(check.message)) if check.message else "",
        paragraph(element("b", "It should be: "), prose(check.should)) if check.should else "",
        paragraph(check.reference, quiet=True),
    )


def _changes(model: MetadataModel) -> Html:
    if model.error:
        return status(model.error, sign="✘", alert=True)
    if not model.edited:
        return Html("")
    rows = [(code(c.name), badge(c.before), Html("→"), badge(c.after)) for c in model.changes]
    if not rows:
        return status("Edited; no check comes to anything else.")
    return joined(status("What the edits change:"), table((), rows))


def _table(findings: Iterable[Finding]) -> Html:
    rows = [(_name(f), code(value_text(f.value)) if f.present else "missing", _outcome(f)) for f in findings]
    return table(("Field", "Value", "Check"), rows, widths=("38%", "28%", "34%"))


def _name(finding: Finding) -> Html:
    return joined(element("b", code(finding.field.name)), BREAK, prose(finding.field.meaning))


def _outcome(finding: Finding) -> Html:
    check = finding.check
    should = joined(" It should be: ", prose(check.should), ".") if check.should else ""
    return joined(badge(check.outcome), " ", prose(check.message), should, BREAK, quiet(check.reference))
