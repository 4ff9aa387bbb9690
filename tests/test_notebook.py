"""The notebook runs without a network, is stored without outputs, and has a rendered page."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from support.paths import DOCS, ROOT

NOTEBOOK = ROOT / "notebooks" / "image_trainer.ipynb"
MINUTES = 5
_SOLUTION = re.compile(
    r"<summary>Solution</summary>\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def solutions(notebook: nbformat.NotebookNode) -> list[str]:
    """Return the code of the solutions of all exercises."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return [code for text in texts for code in _SOLUTION.findall(text)]


def run(notebook: nbformat.NotebookNode) -> None:
    """Run the notebook, then the solutions of its exercises."""
    started = processor_seconds()
    notebook.cells += [nbformat.v4.new_code_cell(code) for code in solutions(notebook)]
    client = NotebookClient(
        notebook, timeout=None, resources={"metadata": {"path": ROOT / "notebooks"}}
    )
    client.execute()
    assert processor_seconds() - started < MINUTES * 60


def processor_seconds() -> float:
    """The processor time of the kernels that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def printed_text(notebook: nbformat.NotebookNode) -> str:
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    return "".join(out.get("text", "") for out in outputs)


def count_images(notebook: nbformat.NotebookNode) -> int:
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    return sum("image/png" in out.get("data", {}) for out in outputs)


def test_the_notebook_learns_to_caption_drawn_shapes(
    notebook: nbformat.NotebookNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLICKR8K", str(tmp_path / "nowhere"))
    run(notebook)
    text = printed_text(notebook)
    assert "drawn shapes will do" in text
    captions, shuffled, constant = (
        float(x) for x in re.findall(r"^CIDEr +([\d.]+)", text, re.MULTILINE)
    )
    assert captions > 2 * max(shuffled, constant)
    assert "P(circle) 0.333, loss 1.099\n" in text
    assert "P(circle) 0.483, loss 0.728\n" in text
    assert "first gradient -0.667, second -0.517" in text
    greedy, beam = re.findall(r"^ +sum -[\d.]+, mean (-[\d.]+)$", text, re.MULTILINE)
    assert float(beam) > float(greedy)
    assert count_images(notebook) >= 14


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_notebook_runs_on_flickr8k(
    notebook: nbformat.NotebookNode, monkeypatch: pytest.MonkeyPatch, shared_dir: Path
) -> None:
    monkeypatch.setenv("FLICKR8K", str(shared_dir / "flickr8k"))
    run(notebook)
    assert "Flickr8k is here" in printed_text(notebook)


def test_exercises_have_solutions_that_are_hidden(notebook: nbformat.NotebookNode) -> None:
    text = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert len(solutions(notebook)) == text.count("<details>") == text.count("</details>") == 2


def test_the_notebook_is_stored_without_outputs(notebook: nbformat.NotebookNode) -> None:
    for cell in notebook.cells:
        assert not cell.get("outputs"), cell.source[:60]
        assert cell.get("execution_count") is None
    assert NOTEBOOK.stat().st_size < 60_000


def test_the_rendered_page_shows_the_cells_of_the_notebook(notebook: nbformat.NotebookNode) -> None:
    page = (DOCS / "notebook.md").read_text("utf-8")
    how_to_open = f"`jupyter notebook {NOTEBOOK.relative_to(ROOT)}`"
    assert how_to_open in page
    assert how_to_open in (DOCS / "render_notebook.py").read_text("utf-8")
    for cell in notebook.cells:
        assert cell.source in page, cell.source[:80]
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page):
        assert (DOCS / picture).is_file()
