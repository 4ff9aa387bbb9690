from __future__ import annotations

import os
from pathlib import Path

import pytest
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from showtell.scoring import ScoringError
from showtell.scoring.ptb import one_line, ptb_tokenize
from support.stumbling_captions import REFERENCES, SAID

CAPTIONS = [*SAID, *(reference for own in REFERENCES for reference in own), "", " ", "a dog"]


def test_tokens_equal_those_of_pycocoevalcap(
    java: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(java.parent), prepend=os.pathsep)
    given = {place: [{"caption": caption}] for place, caption in enumerate(CAPTIONS)}
    theirs = PTBTokenizer().tokenize(given)
    assert ptb_tokenize(CAPTIONS, java, package) == [theirs[n][0] for n in range(len(CAPTIONS))]


@pytest.mark.parametrize("captions", [[""], ["", ""], ["a dog", "", ""], []])
def test_empty_captions_keep_their_position(captions: list[str], java: Path, package: Path) -> None:
    assert ptb_tokenize(captions, java, package) == captions


def test_no_character_shifts_the_captions_after_it(java: Path, package: Path) -> None:
    characters = [chr(code) for code in range(0x3100)] + ["\ufeff", "\ud800", "\U0001f436"]
    captions = [text for c in characters for text in (f"aq{c}bq", f"aq {c} bq", "a dog")]
    tokens = ptb_tokenize(captions, java, package)
    assert tokens[2::3] == ["a dog"] * len(characters)


@pytest.mark.parametrize("separator", list("\n\r\x0b\x0c\x1c\x85\u2028\u2029\0"))
def test_a_line_separator_becomes_a_space(separator: str) -> None:
    assert one_line(f"a dog{separator}runs") == "a dog runs"


def test_nothing_is_written_beside_the_jar(java: Path, package: Path) -> None:
    # A file that came and went would still have changed the folder's time.
    before = (package / "tokenizer").stat().st_mtime_ns
    ptb_tokenize(["a dog"], java, package)
    assert (package / "tokenizer").stat().st_mtime_ns == before


def test_a_tokenizer_that_loses_lines_is_an_error(package: Path, tmp_path: Path) -> None:
    program = tmp_path / "java"
    program.write_text("#!/bin/sh\ncat > /dev/null; echo a dog\n")
    program.chmod(0o755)
    with pytest.raises(ScoringError, match="for 3 captions"):
        ptb_tokenize(["a dog", "a cat", "a cow"], program, package)
