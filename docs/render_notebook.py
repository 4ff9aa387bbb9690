"""Run the notebook and write what it shows as a page: `python docs/render_notebook.py`.

Writes `docs/notebook.md` and its pictures, `docs/images/notebook/*.png`.
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
WIDEST = 1000  # pixels: a page is no wider
_BAR = re.compile(r"^.*\r(?!\n)", re.MULTILINE)


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
            continue
        lines += ["```python", cell.source, "```", ""]
        text = "".join(out.get("text", "") for out in cell.outputs)
        if text.strip():
            lines += ["```text", _BAR.sub("", text).rstrip(), "```", ""]
        for place, out in enumerate(cell.outputs):
            data = out.get("data", {}).get("image/png")
            if data:
                name = f"{number:02d}-{place}.png"
                _save(base64.b64decode(data), PICTURES / name)
                lines += [f"![What the cell above draws](images/notebook/{name})", ""]
    (DOCS / "notebook.md").write_text("\n".join(lines), "utf-8")


def _save(data: bytes, path: Path) -> None:
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    if picture.width > WIDEST:
        height = round(picture.height * WIDEST / picture.width)
        picture = picture.resize((WIDEST, height), Image.Resampling.LANCZOS)
    # few colours: drawings stay as they are, photos hardly change, and the repository stays small
    picture.quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    render()
