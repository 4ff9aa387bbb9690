from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.caption import Alternative, Caption, Keyword, Word
from showtell.cli.caption_output import format_of, header, line, suffix_format
from showtell.decoding.confidence import CONFIDENCE_LEVELS, ConfidenceLevel
from showtell.errors import ShowtellError
from support.paths import SOURCE

GOOD = Caption(
    Path("a/dog.jpg"),
    "a dog runs",
    -3.25,
    0.75,
    (Alternative("a cat", -4.5),),
    (Word("a", -0.5), Word("dog", -1.25)),
)
BAD = Caption(Path("bad.jpg"), error="bad.jpg: empty: the file holds no bytes")


def test_text_is_path_and_caption_on_one_line() -> None:
    assert header("text") == ""
    assert line(Caption(Path("a\nb.jpg"), "a dog"), "text") == "a\\nb.jpg: a dog\n"
    assert line(Caption(None, "a dog"), "text") == "-: a dog\n"
    assert line(BAD, "text") == ""
    assert line(GOOD, "text", words=True) == (
        "a/dog.jpg: a dog runs\n      -3.250  a dog runs\n      -4.500  a cat\n"
        "    a -0.50  dog -1.25\n"
    )


def test_text_marks_doubt_in_words_and_in_colour() -> None:
    sure, unsure, guess = (
        Caption(Path("a.jpg"), "a dog", -1.0, share) for share in (0.6, 0.3, 0.29)
    )
    assert line(sure, "text") == line(sure, "text", colour=True) == "a.jpg: a dog\n"
    assert line(unsure, "text") == "a.jpg: a dog  [unsure: check it]\n"
    assert line(guess, "text") == "a.jpg: a dog  [a guess: probably wrong]\n"
    assert line(guess, "text", colour=True) == (
        "a.jpg: a dog\x1b[31m  [a guess: probably wrong]\x1b[0m\n"
    )


def test_the_suffix_of_a_file_chooses_among_the_formats_of_a_command() -> None:
    names = {"a.jsonl": "jsonl", "a.NDJSON": "jsonl", "a.csv": "csv", "a.txt": "text", "a": "text"}
    assert {name: format_of(Path(name)) for name in names} == names
    assert format_of(None) == "text"
    assert suffix_format(Path("a.html"), ("text", "html")) == "html"
    assert suffix_format(Path("a.html"), ("text", "csv")) is None
    assert suffix_format(None, ("text", "csv")) is None
    with pytest.raises(ShowtellError, match=r"a\.json: name it \.jsonl"):
        suffix_format(Path("a.json"), ("csv",))
    with pytest.raises(ShowtellError, match=r"a\.xlsx: name it \.csv, which spreadsheets open"):
        format_of(Path("a.xlsx"))


def test_the_web_page_has_the_same_levels_of_confidence() -> None:
    script = (SOURCE / "server" / "static" / "confidence.js").read_text("utf-8")
    pattern = r'{ minimum: ([\d.]+), level: "(\w+)", title: "([^"]+)" }'
    levels = tuple(
        ConfidenceLevel(float(minimum), name, title)
        for minimum, name, title in re.findall(pattern, script)
    )
    assert levels == CONFIDENCE_LEVELS


def test_jsonl_holds_the_documented_fields() -> None:
    record = json.loads(line(GOOD, "jsonl"))
    assert record == {
        "path": "a/dog.jpg",
        "text": "a dog runs",
        "log_probability": -3.25,
        "confidence": 0.75,
        "alternatives": [{"text": "a cat", "log_probability": -4.5}],
        "error": None,
    }
    assert list(record) == [
        "path",
        "text",
        "log_probability",
        "confidence",
        "alternatives",
        "error",
    ]
    assert json.loads(line(GOOD, "jsonl", words=True))["words"][0] == {
        "word": "a",
        "log_probability": -0.5,
        "attention": None,
    }
    assert json.loads(line(BAD, "jsonl"))["error"] == BAD.error
    assert json.loads(line(BAD, "jsonl"))["text"] is None


def test_keywords_are_printed_on_request_in_every_format() -> None:
    caption = Caption(
        Path("dog.jpg"), "a dog", -1.0, keywords=(Keyword("dog", 0.923), Keyword("ball", 0.5))
    )
    assert line(caption, "text", keywords=True) == (
        "dog.jpg: a dog\n    keywords: dog 0.92, ball 0.50\n"
    )
    assert line(GOOD, "text", keywords=True) == line(GOOD, "text")
    assert json.loads(line(caption, "jsonl", keywords=True))["keywords"] == [
        {"word": "dog", "probability": 0.923},
        {"word": "ball", "probability": 0.5},
    ]
    columns = header("csv", keywords=True)
    [row] = csv.DictReader(io.StringIO(columns + line(caption, "csv", keywords=True)))
    assert row["keywords"] == "dog 0.92; ball 0.50"
    for form in ("text", "jsonl", "csv"):
        assert "keywords" not in header(form) + line(caption, form)


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name and name != b"."))
def test_jsonl_brings_any_file_name_back(name: bytes) -> None:
    path = Path(os.fsdecode(name))
    written = line(Caption(path, "a dog"), "jsonl")
    assert written.count("\n") == 1
    written.encode("ascii")
    assert os.fsencode(json.loads(written)["path"]) == os.fsencode(path)


def test_csv_has_a_column_for_each_alternative() -> None:
    text = header("csv", nbest=3) + line(GOOD, "csv", nbest=3) + line(BAD, "csv", nbest=3)
    first, second = csv.DictReader(io.StringIO(text))
    assert first == {
        "path": "a/dog.jpg",
        "text": "a dog runs",
        "log_probability": "-3.25",
        "confidence": "0.75",
        "alternative_1": "a cat",
        "alternative_2": "",
        "error": "",
    }
    assert second["error"] == BAD.error


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_no_csv_cell_is_run_as_a_formula(text: str) -> None:
    caption = Caption(Path(text), text, -1.0, None, (Alternative(text, -2.0),))
    [row] = csv.reader(io.StringIO(line(caption, "csv", nbest=2), newline=""))
    for cell in (row[0], row[1], row[4]):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    row[1].encode("utf-8")


def test_jsonl_and_csv_name_the_model_that_wrote_a_caption() -> None:
    assert json.loads(line(GOOD, "jsonl", model="general@1a"))["model"] == "general@1a"
    text = header("csv", nbest=2, with_model=True)
    text += line(GOOD, "csv", nbest=2, model="general@1a")
    [row] = csv.DictReader(io.StringIO(text))
    assert (row["model"], row["confidence"], row["error"]) == ("general@1a", "0.75", "")
    assert line(GOOD, "text", model="general@1a") == line(GOOD, "text")


def test_formula_is_kept_readable() -> None:
    for text in ("=HYPERLINK(1)", "+1", "-1", "@SUM(A1)"):
        [row] = csv.reader(io.StringIO(line(Caption(None, text), "csv")))
        assert row[:2] == ["'-", f"'{text}"]
