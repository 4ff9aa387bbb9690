"""Settings of the documentation: `sphinx-build -W docs site`."""

from __future__ import annotations

import os
import re

from sphinx.application import Sphinx

from showtell import __version__

# so that click's help texts are laid out alike on every machine, and no model hub is asked
os.environ["COLUMNS"] = "80"
os.environ["HF_HUB_OFFLINE"] = "1"

project = "showtell"
copyright = "the showtell authors"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
suppress_warnings = ["myst.header"]  # the models' cards begin below their page's heading

smartquotes = False  # options keep their two dashes
default_role = "code"  # docstrings are plain text with `code`
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "__init__, __new__"}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 72

html_theme = "furo"
html_title = "showtell"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_theme_options = {"top_of_page_buttons": []}


def add_toctree(app: Sphinx, page: str, source: list[str]) -> None:
    """Make the links of index.md, which GitHub shows, the site's table of contents."""
    if page == "index":
        pages = re.findall(r"^- \[.*?\]\(([\w-]+)\.md\)", source[0], flags=re.MULTILINE)
        source[0] += "\n".join(["", "```{toctree}", ":hidden:", "", *pages, "```", ""])


def setup(app: Sphinx) -> None:
    """Register the hook."""
    app.connect("source-read", add_toctree)
