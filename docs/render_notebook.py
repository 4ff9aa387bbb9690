"""Run the notebook and write it, with its outputs, as a page: `python docs/render_notebook.py`.

Writes `docs/notebook.md` and its images, `docs/images/notebook/*.png`.
"""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

DOCS = Path(__file__).resolve().parent
NOTEBOOK = DOCS.parent / "notebooks" / "image_trainer.ipynb"
PICTURES = DOCS / "images" / "notebook"
MAX_WIDTH = 1000  # pixels, the width of a page
_HOW_TO_OPEN = """\
This page is the notebook `notebooks/image_trainer.ipynb` of the repository, with its outputs. To
run it yourself, in a clone: `jupyter notebook notebooks/image_trainer.ipynb`."""
_PROGRESS_BAR = re.compile(r"^.*\r(?!\n)", re.MULTILINE)


def render() -> None:
    """Run the notebook on drawn shapes and write the page."""
    os.environ["FLICKR8K"] = ""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    folder = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=900, resources=folder).execute()
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir(parents=True)
    lines: list[str] = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            lines += [cell.source, ""]
            if number == 0:
                lines += [_HOW_TO_OPEN, ""]
            continue
        lines += ["```python", cell.source, "```", ""]
        text = "".join(out.get("text", "") for out in cell.outputs)
        if text.strip():
            lines += ["```text", _PROGRESS_BAR.sub("", text).rstrip(), "```", ""]
        for index, output in enumerate(cell.outputs):
            data = output.get("data", {}).get("image/png")
            if data:
                name = f"{number:02d}-{index}.png"
                _save(base64.b64decode(data), PICTURES / name)
                lines += [f"![Output of the cell above](images/notebook/{name})", ""]
    (DOCS / "notebook.md").write_text("\n".join(lines), "utf-8")


def _save(data: bytes, path: Path) -> None:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    if image.width > MAX_WIDTH:
        height = round(image.height * MAX_WIDTH / image.width)
        image = image.resize((MAX_WIDTH, height), Image.Resampling.LANCZOS)
    # 128 colours keep the repository small; plots stay the same, and photos hardly change
    image.quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    render()
