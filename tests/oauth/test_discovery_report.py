"""How a discovery is shown. `test_discovery` has the reports of real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp_oauth_nb.oauth.discovery_report import Probe, Report


@dataclass(frozen=True, repr=False)
class Example(Report):
    title: str = "An example"
    rows: tuple[tuple[str, Any], ...] = ()
    probes: tuple[Probe, ...] = ()
    findings: tuple[str, ...] = ()

    def _title(self) -> str:
        return self.title

    def _rows(self) -> Mapping[str, Any]:
        return dict(self.rows)


def test_columns_are_aligned_and_lists_are_joined() -> None:
    report = Example(
        probes=(Probe("https://b/", 404, "not here"), Probe("https://a.longer/", 200, "document")),
        rows=(("scopes", ["repo", "user"]), ("x", True)),
        findings=("Something to know.",),
    )
    assert repr(report) == str(report)
    assert repr(report) == (
        "An example\n"
        "  404  https://b/         not here\n"
        "  200  https://a.longer/  document\n"
        "\n"
        "  scopes  repo, user\n"
        "  x       True\n"
        "\n"
        "  ! Something to know."
    )


def test_no_findings_leave_no_empty_section() -> None:
    assert repr(Example(rows=(("a", "b"),))) == "An example\n\n  a  b"
    assert "<ul>" not in Example()._repr_html_()


def test_values_from_the_network_can_disturb_neither_form() -> None:
    report = Example("<i>", (("<b>", "<script>\x1b[2J\u202e"),), (Probe("https://a/<", 200, "<"),), ("<u>",))
    assert "\x1b" not in repr(report)
    assert "\u202e" not in repr(report)
    html = report._repr_html_()
    for tag in ("<i>", "<b><", "<script>", "<u>", "\x1b"):
        assert tag not in html
    assert '<td style="text-align:left">&lt;script&gt;\\x1b[2J\\u202e</td>' in html
    assert "<li>&lt;u&gt;</li>" in html
