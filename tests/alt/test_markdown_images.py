"""Images of Markdown: GitHub's and MyST's, where they stand, and how texts are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.alt.markdown_images import markdown_images
from support.alt_texts import rules_in, written

PAGE = """---
title: "![](front.png)"
---

# Heading ![](a.png) #

> quote ![](b.png "title")
> <img src="c.png">

[![](d.png)](https://example.org) [![](e.png) text](https://example.org)
![ref][r] ![][r] ![r]

<p align="center">
  <img src="f.png">
</p>

| a | ![](g.png) ![](h.png) |
|---|---|
| ![](i.png) | ![ok](j.png) |

[r]: r.png

- ```{image} k.png
  :width: 3
  ```
- :::{figure} l.png
  ---
  width: 3
  ---
  Caption
  :::

::::{note}
![](m.png){width=3}
:::{image} n.png
:alt: n.png
:::
::::

```{eval-rst}
.. image:: o.png
```
"""


def test_images_are_found_wherever_they_stand() -> None:
    sources = [image.sources[0] for image in markdown_images(PAGE)]
    assert sources == [f"{name}.png" for name in "abcderrrfghijklmno"]
    assert rules_in("page.md", PAGE) == [
        ("empty-alt", 5),
        ("empty-alt", 7),
        ("missing-alt", 8),
        ("linked-image", 10),
        ("empty-alt", 10),
        ("empty-alt", 11),
        ("missing-alt", 14),
        ("empty-alt", 17),
        ("empty-alt", 17),
        ("empty-alt", 19),
        ("missing-alt", 23),
        ("missing-alt", 26),
        ("empty-alt", 34),
        ("file-name", 35),
        ("missing-alt", 41),
    ]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_texts_are_written_in_the_syntax_of_each_place(line_end: str) -> None:
    page = written("page.md", PAGE.replace("\n", line_end), "A [dog]: x")
    lines = page.split(line_end)
    assert lines[4] == r"# Heading ![A \[dog\]: x](a.png) #"
    assert lines[6:8] == [
        r'> quote ![A \[dog\]: x](b.png "title")',
        '> <img src="c.png" alt="A [dog]: x">',
    ]
    assert r"![ref][r] ![A \[dog\]: x][r] ![r]" in lines
    assert r"| ![A \[dog\]: x](i.png) | ![ok](j.png) |" in lines
    start = lines.index("- ```{image} k.png")
    assert lines[start + 1 : start + 6] == [
        '  :alt: "A [dog]: x"',
        "  :width: 3",
        "  ```",
        "- :::{figure} l.png",
        "  ---",
    ]
    assert lines[start + 6] == '  alt: "A [dog]: x"'
    assert ':alt: "A [dog]: x"' in lines
    assert lines[-3:] == ["   :alt: A [dog]: x", "```", ""]
    assert rules_in("page.md", page) == [("linked-image", 10)]


@pytest.mark.parametrize(
    "text",
    [
        "```\n![](a.png)\n```",
        "`![](a.png)`",
        "    ![](a.png)",
        "```{code-block} md\n![](a.png)\n```",
        "<!-- ![](a.png) <img src=a.png> -->",
        "![A dog](a.png)",
        '![](a.png){alt="A dog"}',
        '![](a.png){fig-alt="A dog"}',
        "[![A dog](b.png)](x) ![A dog](c.png)",
        "```{image} a.png\n:alt:\n```",
        "```{figure} a.png\n---\nalt: A dog\n---\nCaption\n```",
        "a < b ![A dog](a.png) <https://x>",
        '<figure>\n\n![A dog](a.png)\n\n<img src="b.png" alt="">\n</figure>',
        '<a href="x">\n\n<img src="b.png" alt="">\n\nText\n\n</a>',
    ],
)
def test_markdown_without_findings(text: str) -> None:
    assert rules_in("page.md", text) == []


@given(st.text(alphabet="![]()<>`|\\ \t\n\r-*:#{}aé\"'=", max_size=60))
def test_positions_lie_in_the_text_and_slots_hold_the_label(text: str) -> None:
    for image in markdown_images("![](x)\n\n" + text):
        assert 0 <= image.start <= image.end <= len(text) + 8
        if image.kind == "markdown" and image.slot is not None:
            label = ("![](x)\n\n" + text)[image.slot.start - 2 : image.slot.end + 1]
            assert label.startswith("![")
            assert label.endswith("]")
