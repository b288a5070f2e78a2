"""A Jupyter server with JupyterLab, Notebook 7 and Voila, and Chromium in front of it, for the tests in a browser.

The server lives in an environment of its own, since JupyterLab doubles the time of all other tests. `make e2e` makes
it; the environment variable `E2E_VENV` says where it is.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from e2e_programs import CHROMIUM_FLAGS, chromium
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

T = TypeVar("T")

#: What anything may take, in seconds, before a test fails. Two cores serve the kernel, the server and the browser.
PATIENCE = 40.0

ROOT = Path(__file__).parent.parent.parent

# Nothing that pops up; and what a person may have switched on that brings most into the file.
_SETTINGS: dict[str, dict[str, Any]] = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": True},
}


def python_of_front_ends() -> Path:
    """Return the Python of the environment that has the front ends."""
    python = ROOT / os.environ.get("E2E_VENV", ".venv-e2e") / "bin" / "python"
    assert python.exists(), f"{python} is missing; `make e2e` makes it, and E2E_VENV may name another environment"
    return python


def until(reached: Callable[[], T], what: str) -> T:
    """Ask again and again, until the answer is true; return it."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := reached()):
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.05)
    return answer


class FrontEnds:
    """The server.

    Args:
        directory: for its files, and for everything that it wants to keep: people's own settings stay out of it.
        options: further ones of the server.

    Attributes:
        notebooks: where it finds notebooks.
        url: where it is.
    """

    def __init__(self, directory: Path, *options: str):
        self.notebooks = directory / "notebooks"
        self._runtime = directory / "runtime"
        settings = directory / "app-settings"
        for folder in (self.notebooks, settings):
            folder.mkdir(parents=True)
        (settings / "overrides.json").write_text(json.dumps(_SETTINGS))
        self._log = (directory / "log").open("w+")
        # A port that is taken meanwhile is no harm: the server then looks for the next.
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        own = [f"--port={port}", "--no-browser", "--ServerApp.ip=127.0.0.1", "--IdentityProvider.token="]
        own += ["--allow-root", f"--ServerApp.root_dir={self.notebooks}", f"--LabApp.app_settings_dir={settings}"]
        self._process = subprocess.Popen(
            [str(python_of_front_ends()), "-m", "jupyterlab", *own, *options],
            env=self._environment(directory),
            cwd=self.notebooks,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self.url = until(self._address, "Jupyter listens").rstrip("/")

    def _environment(self, directory: Path) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "PYTEST"))}
        # The source that is tested, whatever the environment was installed from.
        own = {"HOME": str(directory), "IPYTHONDIR": str(directory / "ipython"), "PYTHONPATH": str(ROOT)}
        places = {f"JUPYTER_{name.upper()}_DIR": str(directory / name) for name in ("config", "data", "runtime")}
        return {**kept, **own, **places}

    def _address(self) -> str:
        assert self._process.poll() is None, self.log()
        for about in self._runtime.glob("jpserver-*.json"):
            address = json.loads(about.read_text() or "{}").get("url", "")
            try:
                if address and httpx.get(f"{address}api", timeout=1).is_success:
                    return str(address)
            except httpx.TransportError:
                pass
        return ""

    def log(self) -> str:
        """What it wrote so far."""
        self._log.seek(0)
        return self._log.read()

    def write(self, name: str, cells: Sequence[str]) -> Path:
        """Put a notebook there; return its path."""
        path = self.notebooks / f"{name}.ipynb"
        common = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        document = {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {"kernelspec": kernel},
            "cells": [{**common, "id": f"cell-{i}", "source": source} for i, source in enumerate(cells)],
        }
        path.write_text(json.dumps(document))
        return path

    def sessions(self) -> list[dict[str, Any]]:
        """Which notebooks have a kernel, and what it does."""
        answer: list[dict[str, Any]] = httpx.get(f"{self.url}/api/sessions", timeout=PATIENCE).json()
        return answer

    def has_idle_kernel(self, name: str) -> bool:
        """Whether a notebook's kernel is there, idle, and in contact with the page."""
        kernels = [session["kernel"] for session in self.sessions() if session["path"] == f"{name}.ipynb"]
        return any(kernel["execution_state"] == "idle" and kernel["connections"] > 0 for kernel in kernels)

    def end_kernels(self) -> None:
        """End every kernel, those of Voila too."""
        for kernel in httpx.get(f"{self.url}/api/kernels", timeout=PATIENCE).json():
            httpx.delete(f"{self.url}/api/kernels/{kernel['id']}", timeout=PATIENCE)

    def stop(self) -> None:
        """End the kernels and the server."""
        if self._process.poll() is None:
            self.end_kernels()
            self._process.terminate()
        self._process.wait(PATIENCE)
        self._log.close()


@contextmanager
def started(directory: Path, *options: str) -> Iterator[FrontEnds]:
    """Start the server, and end it."""
    front_ends = FrontEnds(directory, *options)
    try:
        yield front_ends
    finally:
        front_ends.stop()


@contextmanager
def browsing() -> Iterator[Browser]:
    """Start Chromium, and end it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def new_page(browser: Browser, *, height: int = 1800, width: int = 1100) -> Page:
    """Open an empty page, of a size that no panel is cut off at."""
    page = browser.new_context(viewport={"width": width, "height": height}).new_page()
    page.set_default_timeout(PATIENCE * 1000)
    expect.set_options(timeout=PATIENCE * 1000)
    return page


# -- the three front ends --------------------------------------------------------------------------------------------


def in_lab(page: Page, front_ends: FrontEnds, name: str) -> None:
    """Open a notebook in JupyterLab and run it."""
    page.goto(f"{front_ends.url}/lab/tree/{name}.ipynb?reset")
    _run_all(page, front_ends, name)


def in_notebook_7(page: Page, front_ends: FrontEnds, name: str) -> None:
    """Open a notebook in Notebook 7 and run it."""
    page.goto(f"{front_ends.url}/notebooks/{name}.ipynb")
    _run_all(page, front_ends, name)


def in_voila(page: Page, front_ends: FrontEnds, name: str) -> None:
    """Let Voila run a notebook."""
    page.goto(f"{front_ends.url}/voila/render/{name}.ipynb")
    expect(page.locator(".jp-OutputArea-output").first).to_be_visible()


def _run_all(page: Page, front_ends: FrontEnds, name: str) -> None:
    expect(page.locator(".jp-Notebook .jp-Cell").first).to_be_visible()
    # Cells that are run before both sides are ready get lost.
    until(lambda: front_ends.has_idle_kernel(name), f"{name} has an idle kernel")
    expect(page.locator(".jp-Notebook-ExecutionIndicator")).to_have_attribute("data-status", "idle")
    menu(page, "Run", "Run All Cells")
    expect(page.locator(".jp-Notebook")).to_be_visible()


def menu(page: Page, *names: str) -> None:
    """Choose from the menu bar, as with a mouse."""
    page.locator(".lm-MenuBar-itemLabel", has_text=names[0]).first.click()
    for depth, name in enumerate(names[1:]):
        item = page.locator(".lm-Menu").nth(depth).locator(".lm-Menu-item").filter(has=_label(page, name)).first
        item.hover()
        if depth == len(names) - 2:
            item.click()
    expect(page.locator(".lm-Menu")).to_have_count(0)


def _label(page: Page, name: str) -> Locator:
    return page.locator(".lm-Menu-itemLabel").get_by_text(name, exact=True)


def use_theme(page: Page, name: str) -> None:
    """Choose one of JupyterLab's themes from its menu.

    Args:
        name: `Light` or `Dark`.
    """
    menu(page, "Settings", "Theme", f"JupyterLab {name}")
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "true" if name == "Light" else "false")


def save(page: Page, path: Path) -> dict[str, Any]:
    """Save from the menu; return what is in the file then."""
    with page.expect_response(lambda it: it.request.method == "PUT" and f"/api/contents/{path.name}" in it.url) as put:
        menu(page, "File", "Save Notebook")
    assert put.value.ok
    document: dict[str, Any] = json.loads(path.read_text())
    return document


# -- what a person sees ----------------------------------------------------------------------------------------------

# Of every text that shows: the text, its colour and that of its ground, both without transparency. What cannot be
# used may be pale (WCAG 2.2, 1.4.3), and so may what stands in a field to say what belongs there.
_COLOURS = """root => {
  const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d",
    { willReadFrequently: true });
  const mixed = (...layers) => {
    context.clearRect(0, 0, 1, 1);
    for (const [colour, alpha] of layers) {
      context.globalAlpha = alpha;
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
    }
    const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
    return `rgb(${red}, ${green}, ${blue})`;
  };
  const grounds = (it) => {
    const layers = [];
    for (let at = it; at !== null; at = at.parentElement) {
      layers.unshift([getComputedStyle(at).backgroundColor, 1]);
    }
    return [["#fff", 1], ...layers];
  };
  const opacity = (it) => {
    let product = 1;
    for (let at = it; at !== null; at = at.parentElement) product *= Number(getComputedStyle(at).opacity);
    return product;
  };
  const shown = [];
  const texts = (it) => [...it.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  for (const it of root.querySelectorAll("*")) {
    if (!it.checkVisibility() || it.closest(":disabled, title, desc, style")) continue;
    const style = getComputedStyle(it);
    if (it instanceof SVGElement) {
      if (!texts(it)) continue;
      const own = it.previousElementSibling;
      const card = it.ownerSVGElement.querySelector("rect");
      const layers = [card, own].filter((rect) => rect?.tagName === "rect" && getComputedStyle(rect).fill !== "none")
        .map((rect) => [getComputedStyle(rect).fill, Number(getComputedStyle(rect).fillOpacity)]);
      shown.push([it.textContent, mixed(...layers, [style.fill, 1]), mixed(...layers)]);
    } else if (texts(it) || (it.matches("input, textarea, select") && it.value)) {
      const layers = grounds(it);
      shown.push([it.value || it.innerText, mixed(...layers, [style.color, opacity(it)]), mixed(...layers)]);
    }
  }
  return shown;
}"""


def colours(shown: Locator) -> list[tuple[str, str, str]]:
    """Return every text in there with its colour and the colour of its ground."""
    return [tuple(found) for found in shown.evaluate(_COLOURS)]


def tab_to(page: Page, wanted: Locator, *, at_most: int = 80, backwards: bool = False) -> None:
    """Press Tab until a control has the focus."""
    expect(wanted).to_be_visible()
    for _ in range(at_most):
        if wanted.evaluate("it => it === document.activeElement"):
            return
        page.keyboard.press("Shift+Tab" if backwards else "Tab")
    raise AssertionError("The control cannot be reached with the Tab key.")
