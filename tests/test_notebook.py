"""The notebook runs from top to bottom without a network, is kept without outputs, and rendered."""

from __future__ import annotations

import re
import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from support.paths import DOCS, ROOT

NOTEBOOK = ROOT / "notebooks" / "image_trainer.ipynb"
MINUTES = 5


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def run(notebook: nbformat.NotebookNode) -> None:
    started = time.perf_counter()
    client = NotebookClient(
        notebook, timeout=500, resources={"metadata": {"path": ROOT / "notebooks"}}
    )
    client.execute()
    assert time.perf_counter() - started < MINUTES * 60


def said(notebook: nbformat.NotebookNode) -> str:
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    return "".join(out.get("text", "") for out in outputs)


def pictures(notebook: nbformat.NotebookNode) -> int:
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    return sum("image/png" in out.get("data", {}) for out in outputs)


def test_it_runs_on_drawn_shapes_and_learns_them(
    notebook: nbformat.NotebookNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLICKR8K", str(tmp_path / "nowhere"))
    run(notebook)
    text = said(notebook)
    assert "drawn shapes will do" in text
    right, dealt_out, one = (float(x) for x in re.findall(r"^CIDEr +([\d.]+)", text, re.MULTILINE))
    assert right > 2 * max(dealt_out, one)
    assert pictures(notebook) >= 14


@pytest.mark.shared
@pytest.mark.slow
def test_it_runs_on_flickr8k(
    notebook: nbformat.NotebookNode, monkeypatch: pytest.MonkeyPatch, shared_dir: Path
) -> None:
    monkeypatch.setenv("FLICKR8K", str(shared_dir / "flickr8k"))
    run(notebook)
    assert "Flickr8k is here" in said(notebook)


def test_it_is_kept_without_outputs(notebook: nbformat.NotebookNode) -> None:
    for cell in notebook.cells:
        assert not cell.get("outputs"), cell.source[:60]
        assert cell.get("execution_count") is None
    assert NOTEBOOK.stat().st_size < 60_000


def test_the_rendered_copy_is_of_this_notebook(notebook: nbformat.NotebookNode) -> None:
    page = (DOCS / "notebook.md").read_text("utf-8")
    for cell in notebook.cells:
        assert cell.source in page, cell.source[:80]
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page):
        assert (DOCS / picture).is_file()
