"""Edited documents: only alternative texts change, in any page, and all of it comes back."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.alt.document import decode_document
from showtell.alt.edits import NewText, edit_document, restore
from showtell.alt.markup import image_references
from showtell.errors import DocumentError
from support.alt_texts import edited, written

PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>A &amp; b</title>
<style>p { color: red }</style><script>if (a < b) document.write('<img src="no.png">')</script>
<p class=x>Text<br/><IMG SRC='a.png'  width = 3 ><img src=b.png><img alt src="c.png"/>
<a href="x"><img src="d.png" alt="d.png"></a><!-- <img src="no.png"> --><svg><title>x</title></svg>
<figure><img class="big"
  src="e.png"><img data-src="f.png" alt='f.png'></figure><table><tr><td><img src=g.png></table>
<picture><source srcset="h.webp"><img src="h.png"></picture><input type=image src="i.png"><p>é</p>
"""


def test_quotes_and_places_follow_the_tag() -> None:
    page = written("page.html", PAGE, 'A "dog" & <cat>')
    dog = "A &quot;dog&quot; &amp; &lt;cat&gt;"
    assert "<IMG SRC='a.png' alt='A \"dog\" &amp; &lt;cat&gt;'  width = 3 >" in page
    assert f'<img src=b.png alt="{dog}"><img alt src="c.png"/>' in page
    assert f'<img src="d.png" alt="{dog}"></a>' in page
    assert f'src="e.png" alt="{dog}"><img data-src="f.png" alt=\'' in page
    assert "no.png" in page
    assert page.count("alt=") == PAGE.count("alt=") + 6


@pytest.mark.parametrize("alt", ["alt", "alt=", "alt = ", "alt=''", "alt=x.png", 'ALT="x.png"'])
def test_an_attribute_in_any_form_takes_a_text(alt: str) -> None:
    document = decode_document(Path("page.html"), f"<img src=x.png {alt}>".encode())
    [image] = image_references(document)
    new = edit_document(document, [NewText(image, "A dog")]).new.decode()
    [after] = image_references(decode_document(Path("page.html"), new.encode()))
    assert (after.alt, after.sources) == ("A dog", ("x.png",))


def mutated(page: str, seed: int) -> str:
    """Return a page with pieces cut out, doubled, moved and overwritten."""
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 6)):
        start, end = sorted(rng.choices(range(len(page) + 1), k=2))
        end = min(end, start + rng.randint(0, 40))
        piece = rng.choice(["", page[start:end] * 2, rng.choice("<>\"'=/ &!-é\r\n\t`")])
        page = page[:start] + piece + page[end:]
    return page


@pytest.mark.extras
@pytest.mark.timeout(900)
def test_in_2000_mutated_pages_nothing_but_texts_of_images_changes() -> None:
    """The trees that html5lib reads before and after are the same but for `alt`."""
    texts = 0
    for seed in range(2000):
        page = mutated(PAGE, seed)
        change = edited("page.html", page.encode(), "A dog")
        assert change.old == page.encode()
        assert restore(change.new, change.edits) == change.old
        before, after = tree_of(page), tree_of(change.new.decode())
        assert without_alt(before) == without_alt(after), seed
        texts += len(change.edits)
    assert texts > 5000


def tree_of(page: str) -> Any:
    return pytest.importorskip("html5lib").parse(page)


def without_alt(tree: Any) -> list[tuple[str, dict[str, str], str | None, str | None]]:
    return [
        (
            str(element.tag),
            {name: value for name, value in element.attrib.items() if name != "alt"},
            element.text,
            element.tail,
        )
        for element in tree.iter()
    ]


@pytest.mark.extras
@pytest.mark.parametrize("name", ["page.md", "page.rst", "page.html", "page.html.j2"])
def test_mutated_documents_of_any_format_come_back(name: str) -> None:
    page = (
        PAGE.replace("<title>", "{{ title }}")
        + "\n\n![](x.png) [![x.png](x.png)](y)\n\n> - ```{figure} z.png\n>   ```\n"
        + "\n.. image:: a.png\n   :width: 3\n\n.. figure:: b.png\n\n* .. image:: c.png\n"
    )
    for seed in range(150):
        old = mutated(page, seed).encode()
        change = edited(name, old, "A dog")
        assert restore(change.new, change.edits) == old


@given(st.text(min_size=1, max_size=30).filter(lambda text: text.strip() and text.isprintable()))
def test_any_text_can_be_read_back(text: str) -> None:
    page = "<img src='a.png'><img src=\"b.png\"><img src=c.png>"
    new = decode_document(Path("page.html"), edited("page.html", page.encode(), text).new)
    assert [image.alt for image in image_references(new)] == [" ".join(text.split())] * 3


@pytest.mark.parametrize(
    ("head", "encoding"),
    [("<meta charset=windows-1252>", "cp1252"), ("\ufeff", "utf-16-le"), ("\ufeff", "utf-8")],
)
def test_the_encoding_stays(head: str, encoding: str) -> None:
    page = f"{head}<p>é\r\n<img src=a.png>\n"
    new = edited("page.html", page.encode(encoding), "Ein Bär").new
    assert new.decode(encoding) == page.replace("a.png", 'a.png alt="Ein Bär"')


def test_bytes_that_are_not_utf_8_stay() -> None:
    page = b"<p>\xff\xfe\x80<img src=a.png>\xe9"
    assert edited("page.html", page, "A dog").new == page.replace(b".png", b'.png alt="A dog"')


def test_a_letter_that_the_encoding_lacks_changes_nothing() -> None:
    page = "<meta charset=latin-1>é<img src=a.png>".encode("latin-1")
    with pytest.raises(DocumentError, match=r"page.html: iso8859-1 has no '🐕'"):
        edited("page.html", page, "A 🐕")
