"""All captions as one CSV or JSON file, in the formats of the command line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from playwright.sync_api import Dialog, Page, expect

from showtell.caption import Alternative, Caption, Keyword
from showtell.cli.caption_output import header, line
from support.page_driver import MockResponses, caption, choose, done, working


def downloaded(page: Page, label: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.get_by_role("button", name=label).click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def caption_of(path: str, text: str, confidence: float) -> Caption:
    return Caption(
        Path(path),
        text,
        -7.25,
        confidence,
        (Alternative("a brown dog runs", -8.5), Alternative("a dog jumps", -9.5)),
        keywords=(Keyword("dog", 0.92), Keyword("grass", 0.61)),
    )


def test_csv_is_what_the_command_line_writes(page: Page, responses: MockResponses) -> None:
    failure = {**caption(), "text": None, "error": "notes.png: not a photo"}
    responses.next = [caption("a dog, running", confidence=0.712345), caption("=1+1"), failure]
    choose(page, "-dog.png", 'a "cat".png', "notes.png")
    done(page, 3)
    name, content = downloaded(page, "Download CSV")
    assert name == "captions.csv"
    expected = header("csv", nbest=3, keywords=True) + "".join(
        line(item, "csv", nbest=3, keywords=True)
        for item in (
            caption_of("-dog.png", "a dog, running", 0.712345),
            caption_of('a "cat".png', "=1+1", 0.71),
            Caption(Path("notes.png"), error="notes.png: not a photo"),
        )
    )
    assert content.decode("utf-8-sig") == expected
    assert content.startswith(b"\xef\xbb\xbf")  # spreadsheets need it to detect UTF-8


def test_json_has_the_fields_of_the_command_line(page: Page, responses: MockResponses) -> None:
    choose(page, "dog.png")
    done(page, 1)
    name, content = downloaded(page, "Download JSON")
    assert name == "captions.json"
    [record] = json.loads(content)
    assert record == caption_of("dog.png", "a dog runs on the grass", 0.71).to_dict(keywords=True)


def test_downloads_contain_edits_and_chosen_suggestions(
    page: Page, responses: MockResponses
) -> None:
    choose(page, "1.png", "2.png")
    first, second = done(page, 2).all()
    first.get_by_role("button", name="Edit").click()
    page.keyboard.press("Control+A")
    page.keyboard.type("Bella")
    page.keyboard.press("Enter")
    second.get_by_role("button", name="Use: a dog jumps").click()
    _, content = downloaded(page, "Download JSON")
    edited, chosen = json.loads(content)
    assert (edited["text"], edited["confidence"], edited["log_probability"]) == (
        "Bella",
        None,
        None,
    )
    assert (chosen["text"], chosen["confidence"], chosen["log_probability"]) == (
        "a dog jumps",
        None,
        -9.5,
    )
    assert [alternative["text"] for alternative in chosen["alternatives"]] == [
        "a dog runs on the grass",
        "a brown dog runs",
    ]
    _, content = downloaded(page, "Download CSV")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert [row["text"] for row in rows] == ["Bella", "a dog jumps"]


def test_downloads_contain_the_keywords_that_are_on(page: Page, responses: MockResponses) -> None:
    choose(page, "1.png")
    card = done(page, 1)
    card.get_by_role("button", name="ball, 34").click()
    card.get_by_role("button", name="grass, 61").click()
    _, content = downloaded(page, "Download JSON")
    [record] = json.loads(content)
    assert record["keywords"] == [
        {"word": "dog", "probability": 0.92},
        {"word": "ball", "probability": 0.34},
    ]
    _, content = downloaded(page, "Download CSV")
    [row] = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    assert row["keywords"] == "dog 0.92; ball 0.34"


def test_download_of_unfinished_work_says_how_many_are_missing(
    page: Page, responses: MockResponses
) -> None:
    responses.held = []
    choose(page, "1.png", "2.png")
    expect(page.get_by_role("button", name="Download CSV")).to_be_disabled()
    expect(working(page)).to_have_count(2)
    responses.release(1)
    expect(page.locator("#summary")).to_have_text("1 of 2 captioned")
    _, content = downloaded(page, "Download JSON")
    assert len(json.loads(content)) == 1
    expect(page.locator("#notice-text")).to_have_text(
        "1 not in the file yet: download it again when all are done."
    )
    responses.release()
    done(page, 2)


def test_leaving_the_page_needs_confirmation_while_edits_are_unsaved(
    page: Page, responses: MockResponses
) -> None:
    dialogs = []

    def stay(dialog: Dialog) -> None:
        dialogs.append(dialog.type)
        dialog.dismiss()

    def leave() -> None:
        page.evaluate("setTimeout(() => { location.href = '/?left'; })")

    page.on("dialog", stay)
    choose(page, "1.png")
    done(page, 1).get_by_role("button", name="Use: a dog jumps").click()
    with page.expect_event("dialog"):
        leave()
    downloaded(page, "Download CSV")
    leave()
    page.wait_for_url("**/?left")
    assert dialogs == ["beforeunload"]
