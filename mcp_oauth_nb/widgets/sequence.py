"""A sequence diagram whose arrows can be clicked, or reached by Tab and chosen by Enter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets

if TYPE_CHECKING:
    # Typed in part only.
    class _AnyWidget(traitlets.HasTraits):
        def __init__(self, **traits: Any): ...
else:
    from anywidget import AnyWidget as _AnyWidget

# The kernel draws; the page only says which arrow was meant. Nothing but our own SVG is ever put there, every text in
# it escaped.
_SCRIPT = """
function render({ model, el }) {
  // A long run scrolls in its own window, with the arrow that is looked at in the middle of it.
  el.style.maxHeight = "520px";
  el.style.overflowY = "auto";
  const draw = () => {
    const focused = el.contains(document.activeElement) ? document.activeElement.dataset.exchange : null;
    el.innerHTML = model.get("svg");
    el.querySelectorAll("[data-exchange]").forEach((arrow) => {
      arrow.setAttribute("tabindex", "0");
      arrow.setAttribute("role", "button");
      arrow.style.cursor = "pointer";
      const choose = () => { model.set("chosen", Number(arrow.dataset.exchange)); model.save_changes(); };
      arrow.addEventListener("click", choose);
      arrow.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); }
      });
    });
    const lit = el.querySelector('[aria-current="true"]');
    if (lit !== null) {
      const inside = lit.getBoundingClientRect().top - el.getBoundingClientRect().top + el.scrollTop;
      el.scrollTop = inside - el.clientHeight / 2;
    }
    if (focused !== null) { el.querySelector(`[data-exchange="${focused}"]`)?.focus({ preventScroll: true }); }
  };
  model.on("change:svg", draw);
  draw();
  return () => model.off("change:svg", draw);
}
export default { render };
"""


class SequenceWidget(_AnyWidget):
    """Shows an SVG; `chosen` is the exchange whose arrow was clicked last, 0 before.

    Args:
        svg: from `diagram.to_svg`, whose arrows carry their exchange in `data-exchange`.
    """

    _esm = _SCRIPT
    svg = traitlets.Unicode().tag(sync=True)
    chosen = traitlets.Int(0).tag(sync=True)

    def __init__(self, svg: str = ""):
        super().__init__(svg=svg)

    def __repr__(self) -> str:
        # The library's own has a memory address.
        return "SequenceWidget()"
