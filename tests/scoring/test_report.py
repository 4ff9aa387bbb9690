from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from showtell.files.atomic_write import atomic_write_text
from showtell.scoring.evaluation import read_evaluation
from showtell.scoring.report import report_html, write_report
from support.evaluations import draw_photo, make_captions, make_evaluation, make_references

HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)"> & "quotes" <!--'


class Page(HTMLParser):
    """A parsed page: elements with attributes, scripts, styles and the captions in the table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.captions: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self._open: list[str] = []
        self._in_caption = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._open.append(tag)
        if tag == "td" and dict(attrs).get("class") == "caption":
            self._in_caption = True
            self.captions.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._open.pop()
        self._in_caption = self._in_caption and tag != "td"

    def handle_data(self, data: str) -> None:
        if self._open:
            (self.scripts if self._open[-1] == "script" else self.styles).append(data)
        if self._in_caption:
            self.captions[-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_a_report_is_read_back_as_its_evaluation(tmp_path: Path) -> None:
    references = make_references(6)
    evaluation = make_evaluation(make_captions(references, 0.5), references)
    write_report(evaluation, tmp_path / "report.html")
    atomic_write_text(tmp_path / "scores.json", evaluation.to_json())
    restored = read_evaluation(tmp_path / "report.html")
    assert restored == read_evaluation(tmp_path / "scores.json")


def test_a_report_names_the_decoding_of_its_scores() -> None:
    references = make_references(2)
    evaluation = make_evaluation(["a dog", "a cat"], references)
    assert "made up, beam 3." in report_html(evaluation)
    evaluation = dataclasses.replace(evaluation, length_penalty=0.7)
    assert "made up, beam 3, length penalty 0.7." in report_html(evaluation)


def test_markup_in_captions_and_names_is_escaped(tmp_path: Path) -> None:
    references = [(HOSTILE, "a dog \ud800 runs"), ("a cat", "a cat sits")]
    names = ['"><script>alert(3)</script>.jpg', "caf\udce9.jpg"]
    evaluation = make_evaluation([HOSTILE, "a cat"], references, names=names, model=HOSTILE)
    write_report(evaluation, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert len(page.named("script")) == 2  # the data and the page's own
    assert page.named("img") == []
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]
    assert HOSTILE in page.captions
    restored = read_evaluation(tmp_path / "report.html")
    assert restored.model == HOSTILE
    assert restored.photos[0].references == references[0]


def test_a_report_loads_nothing_and_runs_only_its_own_script() -> None:
    references = make_references(3)
    page = Page(report_html(make_evaluation(make_captions(references, 0.5), references)))
    assert not page.named("link")
    assert not [a for _, a in page.elements if {"src", "href"} & set(a) and "data:" not in str(a)]
    (policy,) = [str(a["content"]) for a in page.named("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none'")
    for text in (page.scripts[-1], page.styles[0]):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_photos_have_thumbnails_and_the_worst_is_first(tmp_path: Path) -> None:
    references = make_references(4)
    texts = [own[0].strip(" .").lower() for own in references]
    texts[2] = "nothing of this kind"
    paths = [draw_photo(tmp_path / f"{number}.jpg", 400, number) for number in range(4)]
    page = Page(report_html(make_evaluation(texts, references, paths=paths)))
    assert page.captions[0] == "nothing of this kind"
    assert sorted(page.captions) == sorted(texts)
    pictures = [str(image["src"]).partition(",") for image in page.named("img")]
    assert [head for head, _, _ in pictures] == ["data:image/jpeg;base64"] * 4
    with Image.open(io.BytesIO(base64.b64decode(pictures[0][2]))) as image:
        assert image.size == (160, 160)


def test_a_missing_photo_has_no_thumbnail() -> None:
    references = make_references(2)
    page = Page(report_html(make_evaluation(["a dog", "a cat"], references)))
    assert page.named("img") == []
    assert len(page.captions) == 2


@pytest.mark.parametrize(("confidence", "there"), [(None, False), (0.5, True)])
def test_confidence_has_a_column_only_if_the_model_has_it(
    confidence: float | None, there: bool
) -> None:
    references = make_references(2)
    text = report_html(make_evaluation(["a dog", "a cat"], references, confidence=confidence))
    assert (">Confidence<" in text) is there


def test_a_thousand_photos_stay_under_12_megabytes(tmp_path: Path) -> None:
    references = make_references(1000)
    paths = [draw_photo(tmp_path / f"{number}.jpg", 224, number) for number in range(4)] * 250
    write_report(
        make_evaluation(make_captions(references, 0.3), references, paths=paths),
        tmp_path / "report.html",
    )
    size = (tmp_path / "report.html").stat().st_size
    assert 4_000_000 < size < 12_000_000
    assert len(Page((tmp_path / "report.html").read_text()).named("img")) == 1000
