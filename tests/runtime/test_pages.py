"""The frame of all pages: headers, escaping, and templates that are there when they are needed and not before."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import mcp_oauth_nb
from mcp_oauth_nb.runtime.pages import Form, message_page, page, page_headers

PACKAGE = Path(mcp_oauth_nb.__file__).parent
TEMPLATES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.glob("**/templates/*.html"))


@pytest.mark.parametrize(
    ("form", "targets", "referrer"),
    [
        (Form.NONE, " form-action 'none';", "no-referrer"),
        (Form.HERE, " form-action 'self';", "same-origin"),
        (Form.ONWARD, "", "same-origin"),
    ],
)
def test_every_page_has_the_same_headers_but_for_where_its_form_may_lead(
    form: Form, targets: str, referrer: str
) -> None:
    assert page_headers(form) == {
        "Content-Security-Policy": f"default-src 'none';{targets} base-uri 'none'; frame-ancestors 'none'",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": referrer,
        "Cache-Control": "no-store",
    }


def test_what_a_page_says_is_text() -> None:
    html = bytes(message_page("<b>", "\"'><script>alert(1)</script>&amp;").body).decode()
    assert "<title>&lt;b&gt;</title>" in html
    assert "<h1>&lt;b&gt;</h1>" in html
    assert "&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;" in html
    assert "<script" not in html


def test_a_value_that_a_template_is_not_given_is_an_error_and_no_gap() -> None:
    with pytest.raises(Exception, match="undefined"):
        page("runtime/templates/message.html", "Title")


@pytest.mark.parametrize("template", TEMPLATES)
def test_only_the_pictures_of_this_package_are_put_into_a_page_as_they_are(template: str) -> None:
    source = (PACKAGE / template).read_text(encoding="utf-8")
    assert re.findall(r"\|\s*safe|autoescape", source) == (["| safe"] if template.endswith("parts.html") else [])
    assert "icons[name] | safe" in source or "safe" not in source


def test_what_makes_pages_is_loaded_with_the_first_of_them() -> None:
    code = (
        "import sys, mcp_oauth_nb.server, mcp_oauth_nb.server.authserver, mcp_oauth_nb.server.resource\n"
        "import mcp_oauth_nb.client.login, mcp_oauth_nb.lab.mock_github\n"
        "from mcp_oauth_nb.runtime.pages import message_page\n"
        "before = 'jinja2' in sys.modules\n"
        "message_page('Title', 'text')\n"
        "print(before, 'jinja2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False True\n"
