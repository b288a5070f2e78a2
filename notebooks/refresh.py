"""Execute the notebooks in fresh kernels and keep their outputs: `make notebooks`.

What differs between machines is taken out: ids, versions, timings, widget state, and the frames of tracebacks, which
name paths. What is left is the same on every run, and nbval compares it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent
CELL_TIMEOUT_SECONDS = 30


def notebooks() -> list[Path]:
    """Return the guided notebooks in their order."""
    return sorted(HERE.glob("[0-9]*.ipynb"))


def execute(path: Path) -> NotebookNode:
    """Run a notebook from its first cell; cells tagged `raises-exception` may fail, no other."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=CELL_TIMEOUT_SECONDS, kernel_name="python3")
    client.execute(cwd=str(path.parent))
    return normalise(notebook)


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Take out what differs between machines and runs."""
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02}"
        cell.metadata = NotebookNode({"tags": cell.metadata.tags} if cell.metadata.get("tags") else {})
        if cell.cell_type == "code":
            cell.outputs = _joined([_normalise_output(output) for output in cell.outputs])
    return notebook


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join what was printed in one go: a kernel sends it in as many pieces as time would have it."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last is not None and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def _normalise_output(output: NotebookNode) -> NotebookNode:
    if output.output_type == "error":
        output.traceback = [f"\x1b[31m{output.ename}\x1b[39m: {output.evalue}"]
    data = output.get("data", {})
    if "application/vnd.jupyter.widget-view+json" in data:
        # The model's id is random, and without a kernel there is no model: the other forms are shown.
        del data["application/vnd.jupyter.widget-view+json"]
    output.get("metadata", {}).clear()
    return output


def main(names: list[str]) -> None:
    """Refresh the named notebooks, or all of them."""
    for path in notebooks():
        if names and not any(path.name.startswith(name) for name in names):
            continue
        print(path.name, flush=True)
        nbformat.write(execute(path), path)


if __name__ == "__main__":
    main(sys.argv[1:])
