"""A sequence diagram whose arrows can be clicked, or reached by the keyboard and chosen by Enter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets

if TYPE_CHECKING:
    # Typed in part only.
    class _AnyWidget(traitlets.HasTraits):
        def __init__(self, **traits: Any): ...

        layout: Any

        def on_msg(self, callback: Any) -> None: ...
else:
    from anywidget import AnyWidget as _AnyWidget

# The kernel draws; the page only says which arrow was meant. Nothing but our own SVG is ever put there, every text in
# it escaped. One arrow is in the Tab order, and the arrow keys go to the others: a long run is no long way to Tab.
_SCRIPT = """
const ARROWS = "[data-exchange]";
const MARGIN = 60;

function render({ model, el }) {
  // A long run scrolls in a window of its own. Its keys are its own: JupyterLab would take the arrow keys away.
  const box = document.createElement("div");
  box.style.cssText = "max-height:340px;overflow:hidden auto";
  box.tabIndex = -1;
  box.dataset.lmSuppressShortcuts = "true";
  el.replaceChildren(box);
  const arrows = () => [...box.querySelectorAll(ARROWS)];
  const choose = (arrow) => model.send({ chosen: Number(arrow.dataset.exchange) });
  const stop = (arrow) => arrows().forEach((it) => it.setAttribute("tabindex", it === arrow ? "0" : "-1"));

  const show = (first, last = first) => {
    const window = box.getBoundingClientRect();
    const above = first.getBoundingClientRect().top - MARGIN - window.top;
    const below = last.getBoundingClientRect().bottom + MARGIN - window.bottom;
    // No more than is needed: what is under the mouse stays there.
    box.scrollTop += above < 0 ? above : Math.max(0, Math.min(below, above));
  };

  const draw = () => {
    const focused = arrows().indexOf(document.activeElement);
    const place = box.scrollTop;
    box.innerHTML = model.get("svg");
    box.scrollTop = place;
    const all = arrows();
    all.forEach((arrow) => { arrow.setAttribute("role", "button"); arrow.style.cursor = "pointer"; });
    const lit = all.filter((arrow) => arrow.getAttribute("aria-current") === "true");
    stop(all[focused] ?? lit[0] ?? all[0]);
    if (lit.length > 0) { show(lit[0], lit[lit.length - 1]); }
    all[focused]?.focus({ preventScroll: true });
  };

  const click = (event) => {
    const arrow = event.target.closest(ARROWS);
    if (arrow === null) { return; }
    stop(arrow);
    arrow.focus({ preventScroll: true });
    choose(arrow);
  };

  const key = (event) => {
    const all = arrows();
    const at = all.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) { return; }
    if (event.key === "Enter" || event.key === " ") {
      choose(all[at]);
    } else if (to !== undefined) {
      const next = all[Math.max(0, Math.min(to, all.length - 1))];
      stop(next);
      next.focus({ preventScroll: true });
      show(next);
    } else { return; }
    event.preventDefault();
    event.stopPropagation();
  };

  box.addEventListener("click", click);
  box.addEventListener("keydown", key);
  model.on("change:svg", draw);
  draw();
  return () => model.off("change:svg", draw);
}
export default { render };
"""


class SequenceWidget(_AnyWidget):
    """Shows an SVG; `chosen` is the exchange whose arrow was clicked last, 0 before.

    Args:
        svg: from `diagram.svg_with`, whose arrows carry their exchange in `data-exchange`.
    """

    _esm = _SCRIPT
    svg = traitlets.Unicode().tag(sync=True)
    chosen = traitlets.Int(0)

    def __init__(self, svg: str = ""):
        super().__init__(svg=svg)
        self.on_msg(self._clicked)

    def _clicked(self, _: Any, content: dict[str, Any], buffers: Any) -> None:
        exchange = content.get("chosen")
        if isinstance(exchange, int):
            # A click on the same arrow counts again: another exchange may be shown meanwhile.
            self.chosen = 0
            self.chosen = exchange

    def __repr__(self) -> str:
        # The repr of the library has a memory address.
        return "SequenceWidget()"
