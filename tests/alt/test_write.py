"""Suggestions with a model, written into documents and undone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from showtell.alt.check import AltFinding, check_documents, find_documents
from showtell.alt.journal import Journal
from showtell.alt.suggest import suggest
from showtell.alt.suggestion import Suggestion
from showtell.alt.write import AltWriteOptions, plan_texts, undo_texts, write_texts
from showtell.captioner import Captioner
from showtell.errors import DocumentError
from support.odd_photos import corners
from support.tiny_bundles import write_bundle

PAGE = b"""<p>\r
<img src="dog.jpg"><img src='/img/cat%20one.png' alt="cat one.png">\r
<a href="x"><img src=dog.jpg></a><a href="dog.jpg"><img src=dog.jpg></a>\r
<img src="gone.png"><img src="https://example.org/a.png"><img src="logo.svg">\r
<img src="dog.jpg" alt="image"><img src="dog.jpg" alt=""><input type=image src=dog.jpg>"""


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Captioner:
    return Captioner(write_bundle(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    (folder / "img").mkdir(parents=True)
    corners(40, 40).save(folder / "dog.jpg")
    corners(40, 60).save(folder / "img" / "cat one.png")
    (folder / "logo.svg").write_text("<svg/>")
    (folder / "index.html").write_bytes(PAGE)
    return folder


def fail(error: Exception) -> None:
    raise error


def findings_in(*paths: Path) -> Iterable[AltFinding]:
    return check_documents(find_documents(paths, report=fail), report=fail)


def texts_for(site: Path, captioner: Captioner) -> list[tuple[AltFinding, Suggestion | None]]:
    return [
        (finding, None if item is None else replace(item, confidence=0.9, text="A dog"))
        if item is not None and item.text is not None
        else (finding, item)
        for finding, item in suggest(findings_in(site), load_captioner=lambda: captioner)
    ]


def write(
    site: Path, captioner: Captioner, journal: Journal, options: AltWriteOptions | None = None
) -> int:
    plans = plan_texts(texts_for(site, captioner), options or AltWriteOptions())
    return write_texts(plans, journal, report=fail).texts


def test_suggestions_are_captions_of_local_images_or_say_why_not(
    site: Path, captioner: Captioner
) -> None:
    results = list(suggest(findings_in(site), load_captioner=lambda: captioner))
    dog, cat = captioner.caption(site / "dog.jpg"), captioner.caption(site / "img" / "cat one.png")
    link = "the text has to say where the link leads"
    assert [(item.text, item.reason) for _, item in results if item is not None] == [
        (dog.text, ""),
        (cat.text, ""),
        (dog.text, link),
        (dog.text, ""),
        (None, "no such file"),
        (None, "not on this computer"),
        (None, "SVG cannot be captioned"),
        (dog.text, ""),
        (None, "the text has to say what the button does"),
    ]


def test_no_model_is_loaded_without_a_local_image(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<img src=gone.png><img alt='image of a dog' src=x>")

    def load() -> Captioner:
        raise AssertionError("loaded")

    [(_, missing), (_, image_of)] = suggest(findings_in(tmp_path), load_captioner=load)
    assert missing is not None
    assert image_of is None


def test_a_confidence_under_the_least_leaves_no_text(site: Path, captioner: Captioner) -> None:
    results = suggest(findings_in(site), load_captioner=lambda: captioner, min_confidence=1.0)
    confidences = [item.confidence for _, item in results if item and item.confidence is not None]
    texts = suggest(findings_in(site), load_captioner=lambda: captioner, min_confidence=1.0)
    assert [item.text for _, item in texts if item and item.confidence in confidences] == [
        None
    ] * len(confidences)


def test_only_images_without_a_text_get_one_and_undo_restores_every_byte(
    site: Path, captioner: Captioner, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal")
    page = site / "index.html"
    page.chmod(0o640)
    assert write(site, captioner, journal) == 2
    new = page.read_bytes()
    expected = PAGE.replace(b'<img src="dog.jpg"><img', b'<img src="dog.jpg" alt="A dog"><img', 1)
    expected = expected.replace(
        b'<a href="dog.jpg"><img src=dog.jpg>', b'<a href="dog.jpg"><img src=dog.jpg alt="A dog">'
    )
    assert new == expected
    assert page.stat().st_mode & 0o777 == 0o640
    assert undo_texts(journal, report=fail).restored == 1
    assert page.read_bytes() == PAGE
    assert sorted(path.name for path in site.iterdir()) == [
        "dog.jpg",
        "img",
        "index.html",
        "logo.svg",
    ]
    with pytest.raises(DocumentError, match="nothing to undo"):
        undo_texts(journal, report=fail)


def test_file_names_are_replaced_and_texts_marked_if_asked(
    site: Path, captioner: Captioner, tmp_path: Path
) -> None:
    options = AltWriteOptions(mark_for_review=True, replace_file_names=True)
    assert write(site, captioner, Journal(tmp_path / "journal"), options) == 3
    assert b'alt="unreviewed: A dog">\r\n<a href' in (site / "index.html").read_bytes()
    assert b'alt="image"' in (site / "index.html").read_bytes()
    rules = [finding.problem.rule.id for finding in findings_in(site)]
    assert rules.count("unreviewed") == 3


def test_runs_are_undone_one_by_one_the_last_first(
    site: Path, captioner: Captioner, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal")
    write(site, captioner, journal)
    first = (site / "index.html").read_bytes()
    write(site, captioner, journal, AltWriteOptions(replace_file_names=True))
    assert (site / "index.html").read_bytes() != first
    undo_texts(journal, report=fail)
    assert (site / "index.html").read_bytes() == first
    undo_texts(journal, report=fail)
    assert (site / "index.html").read_bytes() == PAGE


def test_a_document_that_has_changed_since_is_left_alone(
    site: Path, captioner: Captioner, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal")
    (site / "b.html").write_bytes(PAGE)
    write(site, captioner, journal)
    changed = (site / "index.html").read_bytes() + b"!"
    (site / "index.html").write_bytes(changed)
    errors: list[Exception] = []
    counts = undo_texts(journal, report=errors.append)
    assert (counts.restored, counts.skipped) == (1, 1)
    assert str(errors[0]).endswith("index.html: has changed since, so it is left alone")
    assert (site / "index.html").read_bytes() == changed
    assert (site / "b.html").read_bytes() == PAGE


def test_a_document_that_changes_during_the_run_is_left_alone(
    site: Path, captioner: Captioner, tmp_path: Path
) -> None:
    plans = list(plan_texts(texts_for(site, captioner), AltWriteOptions()))
    (site / "index.html").write_bytes(PAGE + b"!")
    errors: list[Exception] = []
    counts = write_texts(plans, Journal(tmp_path / "journal"), report=errors.append)
    assert (counts.documents, counts.failed) == (0, 1)
    assert "another program has just changed it" in str(errors[0])
    assert (site / "index.html").read_bytes() == PAGE + b"!"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_document_that_cannot_be_written_is_named(
    site: Path, captioner: Captioner, tmp_path: Path
) -> None:
    site.chmod(0o500)
    errors: list[Exception] = []
    plans = plan_texts(texts_for(site, captioner), AltWriteOptions())
    assert write_texts(plans, Journal(tmp_path / "journal"), report=errors.append).failed == 1
    assert "index.html: cannot be written" in str(errors[0])


def test_a_run_that_was_killed_before_it_replaced_the_document_is_undone(
    site: Path, captioner: Captioner, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal")
    write(site, captioner, journal)
    (site / "index.html").write_bytes(PAGE)  # as if the second of two steps had not been taken
    run = journal.last_run()
    assert run is not None
    with run.open("a") as file:
        file.write('{"path": "unfinish')
    counts = undo_texts(journal, report=fail)
    assert (counts.restored, counts.skipped, counts.failed) == (0, 0, 0)
    assert (site / "index.html").read_bytes() == PAGE
    assert journal.last_run() is None


def test_a_document_that_cannot_be_restored_now_stays_in_the_journal(
    site: Path, captioner: Captioner, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal")
    write(site, captioner, journal)
    new = (site / "index.html").read_bytes()
    (site / "index.html").unlink()
    (site / "index.html").mkdir()
    errors: list[Exception] = []
    assert undo_texts(journal, report=errors.append).failed == 1
    assert "run undo again when that is solved" in str(errors[0])
    (site / "index.html").rmdir()
    (site / "index.html").write_bytes(new)
    assert undo_texts(journal, report=fail).restored == 1
    assert (site / "index.html").read_bytes() == PAGE


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "00000001.jsonl").write_text("{}\n")
    with pytest.raises(DocumentError, match=r"00000001.jsonl, line 1: not a line of the journal"):
        undo_texts(Journal(tmp_path), report=fail)


def test_site_root_sphinx_stars_and_data_addresses(site: Path, captioner: Captioner) -> None:
    import base64

    data = base64.b64encode((site / "dog.jpg").read_bytes()).decode()
    page = site / "img" / "page.html"
    page.write_text(
        f"<img src='/dog.jpg'><img src='cat%20one.*'><img src='data:image/jpeg;base64,{data}'>"
        "<img src='dog.jpg?v=1#x'><img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>"
    )
    texts = [
        item.text
        for _, item in suggest(findings_in(page), load_captioner=lambda: captioner, site_root=site)
        if item is not None
    ]
    dog = captioner.caption(site / "dog.jpg").text
    assert texts == [dog, captioner.caption(site / "img" / "cat one.png").text, dog, None, None]
