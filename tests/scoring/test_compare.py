from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider

from showtell.cli import main
from showtell.files.atomic_write import atomic_write_text
from showtell.scoring import ScoringError
from showtell.scoring import compare as compare_module
from showtell.scoring.compare import Interval, compare_evaluations
from showtell.scoring.evaluation import Evaluation
from showtell.scoring.report import write_report
from showtell.scoring.tokenized import NO_JAVA_SCORER
from support.evaluations import make_captions, make_evaluation, make_references

REFERENCES = make_references(120)
WORSE = make_evaluation(make_captions(REFERENCES, 0.3), REFERENCES, model="worse")
BETTER = make_evaluation(make_captions(REFERENCES, 0.7, seed=2), REFERENCES, model="better")


def part(evaluation: Evaluation, indices: range) -> Evaluation:
    """Return the evaluation of these photos only."""
    photos = [evaluation.photos[index] for index in indices]
    return make_evaluation(
        [photo.text for photo in photos],
        [photo.references for photo in photos],
        names=[photo.name for photo in photos],
        model=evaluation.model,
    )


def test_a_clearly_better_model_is_better_in_every_metric() -> None:
    first, second = compare_evaluations([WORSE, BETTER]).models
    assert first.differences is None
    assert second.differences is not None
    assert list(second.differences) == list(BETTER.scores.metrics())
    for key, difference in second.differences.items():
        assert difference.low > 0, key
        assert difference.excludes_zero
        expected = BETTER.scores.metrics()[key] - WORSE.scores.metrics()[key]
        assert difference.value == pytest.approx(expected)


def test_scores_are_those_of_the_evaluations() -> None:
    for model, evaluation in zip(
        compare_evaluations([WORSE, BETTER]).models, (WORSE, BETTER), strict=True
    ):
        assert {key: figure.value for key, figure in model.scores.items()} == pytest.approx(
            evaluation.scores.metrics()
        )
        assert all(figure.low < figure.value < figure.high for figure in model.scores.values())


def test_a_model_does_not_differ_from_itself() -> None:
    differences = compare_evaluations([WORSE, WORSE]).models[1].differences
    assert differences is not None
    assert set(differences.values()) == {Interval(0.0, 0.0, 0.0)}
    assert not any(difference.excludes_zero for difference in differences.values())


def test_the_reverse_order_has_the_opposite_differences() -> None:
    forth = compare_evaluations([WORSE, BETTER]).models[1].differences
    back = compare_evaluations([BETTER, WORSE]).models[1].differences
    assert forth is not None
    assert back is not None
    for key, difference in forth.items():
        assert back[key].value == pytest.approx(-difference.value)
        assert (back[key].low, back[key].high) == pytest.approx((-difference.high, -difference.low))


def test_the_seed_decides_the_samples() -> None:
    assert compare_evaluations([WORSE, BETTER], seed=1) == compare_evaluations(
        [WORSE, BETTER], seed=1
    )
    assert compare_evaluations([WORSE, BETTER], seed=1) != compare_evaluations(
        [WORSE, BETTER], seed=2
    )


def test_the_interval_of_a_mean_is_1_96_standard_errors() -> None:
    found = compare_evaluations([WORSE, BETTER], samples=4000).models[0].scores["rouge_l"]
    values = np.array([photo.scores.rouge_l for photo in WORSE.photos])
    reach = 1.96 * values.std() / np.sqrt(len(values))
    assert found.high - found.value == pytest.approx(reach, rel=0.1)
    assert found.value - found.low == pytest.approx(reach, rel=0.1)


def test_a_resample_has_the_scores_of_coco_caption() -> None:
    weights = np.random.default_rng(3).multinomial(120, [1 / 120] * 120)
    scores = compare_module._PhotoStatistics(WORSE.photos, "en").scores(weights[None].astype(float))
    drawn = [photo for photo, n in zip(WORSE.photos, weights, strict=True) for _ in range(n)]
    candidates = {row: [photo.tokens] for row, photo in enumerate(drawn)}
    references = {row: list(photo.reference_tokens) for row, photo in enumerate(drawn)}
    bleus, _ = Bleu(4).compute_score(references, candidates, verbose=0)
    for n in range(4):
        assert scores[f"bleu_{n + 1}"][0] == pytest.approx(100 * bleus[n])


def test_only_common_photos_are_compared_with_a_cider_of_their_own() -> None:
    first, second = part(WORSE, range(80)), part(BETTER, range(40, 120))
    comparison = compare_evaluations([first, second])
    assert comparison.photos == 40
    assert comparison.notes == ("compared on the 40 photos that all have (worse 80, better 80)",)
    common = range(40, 80)
    references = {n: list(WORSE.photos[n].reference_tokens) for n in common}
    for model, evaluation in zip(comparison.models, (WORSE, BETTER), strict=True):
        expected, _ = Cider().compute_score(
            references, {n: [evaluation.photos[n].tokens] for n in common}
        )
        assert model.scores["cider"].value == pytest.approx(100 * expected)
        alone = part(evaluation, common).scores.metrics()
        assert {key: figure.value for key, figure in model.scores.items()} == pytest.approx(alone)


def test_a_metric_that_one_evaluation_lacks_is_left_out_with_a_note() -> None:
    without = make_evaluation(make_captions(REFERENCES, 0.7), REFERENCES, meteor=False)
    comparison = compare_evaluations([WORSE, without])
    assert "meteor" not in comparison.models[0].scores
    assert comparison.notes == ("METEOR left out: not every evaluation has it",)


def test_evaluations_that_cannot_be_compared_are_an_error() -> None:
    with pytest.raises(ScoringError, match="at least two"):
        compare_evaluations([WORSE])
    with pytest.raises(ScoringError, match="0 photos in common"):
        compare_evaluations([part(WORSE, range(40)), part(BETTER, range(40, 80))])
    other = make_evaluation(make_captions(REFERENCES, 1), make_references(120, seed=9))
    with pytest.raises(ScoringError, match="other references"):
        compare_evaluations([WORSE, other])
    texts = make_captions(REFERENCES, 1)
    tokens = make_evaluation(texts, REFERENCES, scorer=NO_JAVA_SCORER, model="tokens")
    with pytest.raises(ScoringError, match=r"worse was scored by .*, tokens by .*no Java"):
        compare_evaluations([WORSE, tokens])


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """One report and one JSON file, as evaluate writes them."""
    write_report(WORSE, tmp_path / "worse.html")
    atomic_write_text(tmp_path / "better.json", BETTER.to_json())
    return [str(tmp_path / "worse.html"), str(tmp_path / "better.json")]


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_command_prints_models_differences_and_intervals(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", *files, "--samples", "200"]) == 0
    output = capsys.readouterr().out
    assert "120 photos of dev, scorer: coco-caption, PTB tokenizer" in output
    (line,) = [line for line in output.splitlines() if line.startswith("better against worse")]
    assert line.count("+") == line.count("*") == 7


def test_command_prints_json(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", *files, "--samples", "50", "--seed", "4", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["samples"], data["seed"], data["photos"]) == (50, 4, 120)
    assert data["models"][0]["differences"] is None
    assert set(data["models"][1]["differences"]["cider"]) == {"value", "low", "high"}


def test_command_labels_two_reports_of_one_model_by_file(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", files[0], files[0], files[1], "--samples", "10"]) == 0
    output = capsys.readouterr().out
    assert f"{files[0]} (1), beam 3" in output
    assert f"{files[0]} (2), beam 3" in output


def test_command_needs_two_reports(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", files[0]]) == 2
    assert "at least two" in capsys.readouterr().err
    assert run(["compare", files[0], "none.html"]) == 1
    assert "none.html: cannot be read" in capsys.readouterr().err


def test_comparing_needs_only_the_light_install(files: list[str]) -> None:
    program = (
        "import sys; from showtell.scoring.compare import compare_evaluations;"
        "from pathlib import Path; from showtell.scoring.evaluation import read_evaluation;"
        "compare_evaluations([read_evaluation(Path(f)) for f in sys.argv[1:]], samples=5);"
        "heavy = {'torch', 'timm', 'pycocoevalcap', 'yaml'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program, *files], check=True)


def test_labels_may_be_given() -> None:
    models = compare_evaluations([WORSE, dataclasses.replace(WORSE)], ["a", "a"], samples=5).models
    assert [model.label for model in models] == ["a (1)", "a (2)"]
