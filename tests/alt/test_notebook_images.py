"""Images in the Markdown cells of notebooks, with their positions in the JSON."""

from __future__ import annotations

import base64
import json

import pytest

from showtell.alt.notebook_images import notebook_images
from support.alt_texts import edited, rules_in

PICTURE = b"a picture"
NOTEBOOK = {
    "cells": [
        {
            "cell_type": "markdown",
            "metadata": {"tags": ["![](no.png)"]},
            "source": ['# é "q"\n', '😀 ![](a.png) <img src="b.png">\n', "![IMG_1234](c.png)"],
        },
        {"cell_type": "code", "source": "![](no.png)", "outputs": [{"data": {"x": [1, 2]}}]},
        {
            "cell_type": "markdown",
            "source": "![](attachment:d.png)",
            "attachments": {"d.png": {"image/png": base64.b64encode(PICTURE).decode()}},
        },
    ],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
}


@pytest.mark.parametrize("options", [{"indent": 1}, {"ensure_ascii": False}, {"indent": "\t"}])
def test_texts_are_written_into_the_strings_of_the_json(options: dict[str, object]) -> None:
    text = json.dumps(NOTEBOOK, **options)  # type: ignore[arg-type]
    new = edited("notes.ipynb", text.encode(), 'A "dog"').new.decode()
    expected = json.loads(text)
    expected["cells"][0]["source"][1:] = [
        '😀 ![A "dog"](a.png) <img src="b.png" alt="A &quot;dog&quot;">\n',
        '![A "dog"](c.png)',
    ]
    expected["cells"][2]["source"] = '![A "dog"](attachment:d.png)'
    assert json.loads(new) == expected
    assert json.dumps(expected, **options) == new  # type: ignore[arg-type]


def test_attachments_are_images_too() -> None:
    assert notebook_images(json.dumps(NOTEBOOK))[-1].embedded == PICTURE


def test_findings_have_the_line_of_the_file() -> None:
    text = json.dumps(NOTEBOOK, indent=1)
    lines = text.split("\n")
    rules = rules_in("notes.ipynb", text)
    assert [rule for rule, _ in rules] == ["empty-alt", "missing-alt", "file-name", "empty-alt"]
    assert all("![" in lines[line - 1] for _, line in rules)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cells": [', '{"cells": {"a": 1}} x', "3"])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not"):
        notebook_images(text)


def test_odd_cells_have_no_images() -> None:
    cells = [3, {"cell_type": "markdown"}, {"cell_type": "markdown", "source": [1, {}]}]
    assert notebook_images(json.dumps({"cells": cells})) == []
    assert notebook_images('{"cells": 3}') == []
    assert notebook_images('{"worksheets": [{"cells": []}, 3]}') == []
