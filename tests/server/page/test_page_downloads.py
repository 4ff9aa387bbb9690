"""All captions as one file, the same that the command line would write."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from playwright.sync_api import Dialog, Page, expect

from showtell.caption import Alternative, Caption
from showtell.cli.caption_output import header, line
from support.page_driver import Answers, caption, choose, done, working


def downloaded(page: Page, label: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.get_by_role("button", name=label).click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def unchanged(path: str, text: str, confidence: float) -> Caption:
    return Caption(
        Path(path),
        text,
        -7.25,
        confidence,
        (Alternative("a brown dog runs", -8.5), Alternative("a dog jumps", -9.5)),
    )


def test_csv_is_what_the_command_line_writes(page: Page, answers: Answers) -> None:
    failure = {**caption(), "text": None, "error": "notes.png: not a photo"}
    answers.next = [caption("a dog, running", confidence=0.712345), caption("=1+1"), failure]
    choose(page, "-dog.png", 'a "cat".png', "notes.png")
    done(page, 3)
    name, content = downloaded(page, "Download CSV")
    assert name == "captions.csv"
    expected = header("csv", nbest=3) + "".join(
        line(item, "csv", nbest=3)
        for item in (
            unchanged("-dog.png", "a dog, running", 0.712345),
            unchanged('a "cat".png', "=1+1", 0.71),
            Caption(Path("notes.png"), error="notes.png: not a photo"),
        )
    )
    assert content.decode("utf-8-sig") == expected
    assert content.startswith(b"\xef\xbb\xbf")  # spreadsheets take it for UTF-8 by this


def test_json_has_the_fields_of_the_command_line(page: Page, answers: Answers) -> None:
    choose(page, "dog.png")
    done(page, 1)
    name, content = downloaded(page, "Download JSON")
    assert name == "captions.json"
    [record] = json.loads(content)
    assert record == unchanged("dog.png", "a dog runs on the grass", 0.71).to_dict()


def test_files_hold_what_the_person_made_of_the_captions(page: Page, answers: Answers) -> None:
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
    assert [other["text"] for other in chosen["alternatives"]] == [
        "a dog runs on the grass",
        "a brown dog runs",
    ]
    _, content = downloaded(page, "Download CSV")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert [row["text"] for row in rows] == ["Bella", "a dog jumps"]


def test_a_file_of_unfinished_work_says_that_some_are_missing(page: Page, answers: Answers) -> None:
    answers.held = []
    choose(page, "1.png", "2.png")
    expect(page.get_by_role("button", name="Download CSV")).to_be_disabled()
    expect(working(page)).to_have_count(2)
    answers.release(1)
    expect(page.locator("#summary")).to_have_text("1 of 2 captioned")
    _, content = downloaded(page, "Download JSON")
    assert len(json.loads(content)) == 1
    expect(page.locator("#notice-text")).to_have_text(
        "1 not in the file yet: download it again when all are done."
    )
    answers.release()
    done(page, 2)


def test_leaving_the_page_is_asked_about_while_a_persons_words_are_nowhere_else(
    page: Page, answers: Answers
) -> None:
    asked = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
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
    assert asked == ["beforeunload"]
