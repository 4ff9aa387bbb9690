"""The formats of documents, by the suffix of a file, and the images of each."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from showtell.alt.document import Document
from showtell.alt.html_images import html_images
from showtell.alt.reference import ImageReference
from showtell.alt.templates import mask_template
from showtell.errors import DocumentError, MissingExtraError
from showtell.files.printable_names import printable

Markup = Literal["html", "template", "markdown", "rst", "notebook"]
SUFFIXES: dict[str, Markup] = {
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".jinja": "template",
    ".jinja2": "template",
    ".j2": "template",
    ".njk": "template",
    ".twig": "template",
    ".liquid": "template",
    ".hbs": "template",
    ".handlebars": "template",
    ".mustache": "template",
    ".md": "markdown",
    ".markdown": "markdown",
    ".rst": "rst",
    ".ipynb": "notebook",
}
_TEMPLATE_SUFFIXES = frozenset(suffix for suffix, name in SUFFIXES.items() if name == "template")
# Of a template's name without its last suffix: `mail.txt.j2` makes no HTML.
_OTHER_TEXT = ".txt .py .yml .yaml .toml .json .cfg .ini .sh .conf .sql .tex"
_TEXT_SUFFIXES = frozenset(_OTHER_TEXT.split())


def markup_of(path: Path) -> Markup | None:
    """Return the format of a file by its name, or None if it is none of these."""
    suffix = path.suffix.lower()
    if suffix in _TEMPLATE_SUFFIXES:
        inner = Path(path.stem).suffix.lower()
        if inner in _TEXT_SUFFIXES:
            return None
        return "markdown" if SUFFIXES.get(inner) == "markdown" else "template"
    return SUFFIXES.get(suffix)


def image_references(document: Document) -> list[ImageReference]:
    """Return the images of a document, in order.

    Raises DocumentError if its name has no known suffix or it cannot be read, and
    MissingExtraError if the extra `alt` is not installed and its format needs it.
    """
    markup = markup_of(document.path)
    if markup is None:
        raise DocumentError(
            f"{printable(os.fspath(document.path))}: unknown format: its suffix is none of"
            f" {' '.join(SUFFIXES)}"
        )
    if markup in ("html", "template"):
        return html_images(mask_template(document.text, is_template=markup == "template"))
    try:
        return _reader(markup)(document.text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DocumentError(
            f"{printable(os.fspath(document.path))}: cannot be parsed ({printable(reason)})"
        ) from None


def _reader(markup: Markup) -> Callable[[str], list[ImageReference]]:
    """Return the function that reads a format; its module needs the extra `alt`."""
    module, function, name = {
        "markdown": ("markdown_images", "markdown_images", "Markdown"),
        "rst": ("rst_images", "rst_images", "reStructuredText"),
        "notebook": ("notebook_images", "notebook_images", "notebooks"),
    }[markup]
    try:
        loaded = importlib.import_module(f"showtell.alt.{module}")
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("showtell"):
            raise
        raise MissingExtraError(f"reading {name}", "alt") from None
    reader: Callable[[str], list[ImageReference]] = getattr(loaded, function)
    return reader
