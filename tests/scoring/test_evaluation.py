from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from showtell.files.atomic_write import atomic_write_text
from showtell.scoring import ScoringError
from showtell.scoring.evaluation import Evaluation, FailedPhoto, read_evaluation
from support.evaluations import make_captions, make_evaluation, make_references


@pytest.fixture
def evaluation() -> Evaluation:
    references = make_references(12)
    scored = make_evaluation(make_captions(references, 0.5), references, confidence=0.25)
    failed = (FailedPhoto("caf\udce9.jpg", "photos/caf\udce9.jpg", "caf\\xe9.jpg: truncated"),)
    return dataclasses.replace(scored, failed=failed, seen=3, length_penalty=0.7)


def test_a_written_evaluation_is_read_back(evaluation: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    atomic_write_text(path, evaluation.to_json())
    restored = read_evaluation(path)
    assert restored.scores.metrics() == evaluation.scores.metrics()
    assert restored.scores.scorer == evaluation.scores.scorer
    assert restored.failed == evaluation.failed
    assert (restored.model, restored.split, restored.beam, restored.seen) == ("made", "dev", 3, 3)
    for photo, original in zip(restored.photos, evaluation.photos, strict=True):
        assert photo.scores.bleu_counts == original.scores.bleu_counts
        assert photo.scores.meteor_counts == original.scores.meteor_counts
        assert photo.scores.cider == pytest.approx(original.scores.cider, abs=1e-4)
        assert (photo.name, photo.text, photo.references) == (
            original.name,
            original.text,
            original.references,
        )
    copy = tmp_path / "copy.json"
    atomic_write_text(copy, restored.to_json())
    assert read_evaluation(copy) == restored


def test_every_score_names_split_decoding_scorer_and_photos(evaluation: Evaluation) -> None:
    for line in evaluation.to_dict()["scores"]:
        assert (line["split"], line["beam"], line["photos"]) == ("dev", 3, 12)
        assert line["length_penalty"] == 0.7
        assert line["scorer"] == "coco-caption, PTB tokenizer"


def test_an_evaluation_without_a_length_penalty_is_read(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    data = evaluation.to_dict()
    del data["length_penalty"]
    restored = Evaluation.from_dict(data)
    assert restored.length_penalty is None
    assert restored.decoding == "beam 3"


def test_captions_are_one_json_line_per_photo(evaluation: Evaluation) -> None:
    lines = [json.loads(line) for line in evaluation.captions_jsonl().splitlines()]
    assert len(lines) == 13
    assert lines[0]["text"] == evaluation.photos[0].text
    assert lines[0]["error"] is None
    assert lines[-1] == {
        "name": "caf\udce9.jpg",
        "path": "photos/caf\udce9.jpg",
        "text": None,
        "log_probability": None,
        "confidence": None,
        "references": None,
        "error": "caf\\xe9.jpg: truncated",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html><p>hello</p></html>", "neither a report nor a JSON file"),
        ("", "neither a report nor a JSON file"),
        ('{"showtell_evaluation": 1', "its JSON is incomplete"),
        ('{"scores": []}', "not an evaluation"),
        ('{"showtell_evaluation": 2}', "newer than this showtell"),
        ('{"showtell_evaluation": 1, "photos": [{"name": 1}]}', "damaged"),
    ],
)
def test_a_file_that_is_not_an_evaluation_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "other.html"
    path.write_text(text)
    with pytest.raises(ScoringError, match=message) as caught:
        read_evaluation(path)
    assert str(caught.value).startswith(str(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=r"none\.json: cannot be read \(no such file"):
        read_evaluation(tmp_path / "none.json")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no devices")  # noqa: PTH110
def test_an_evaluation_is_read_from_a_file_of_bounded_size_only(tmp_path: Path) -> None:
    (tmp_path / "endless.json").symlink_to("/dev/zero")
    with pytest.raises(ScoringError, match=r"endless\.json: cannot be read \(a device"):
        read_evaluation(tmp_path / "endless.json")
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(ScoringError, match=r"huge\.json: cannot be read \(larger than 1,024 MB"):
        read_evaluation(tmp_path / "huge.json")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    atomic_write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        atomic_write_text(path, "x" * 100_000 + "\udce9")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
