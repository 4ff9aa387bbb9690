"""A trained run becomes a bundle that says what PyTorch says, at every precision."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner

from showtell import Captioner
from showtell.bundle import CARD, DECODER_STEP, ENCODER, PrecisionInfo, load_bundle
from showtell.cli.export import export as export_command
from showtell.data.synthetic.shapes import draw_shapes
from showtell.errors import BundleError, ExportError, TrainingError
from showtell.export.choose_precision import Candidate, is_worth_it
from showtell.export.onnx_graphs import decoder_graphs, encoder_graph
from showtell.export.parity import check_parity
from showtell.export.quantize import at_precision
from showtell.export.run_to_bundle import cached_bundle, export
from showtell.scoring.evaluate import evaluate
from showtell.training.recipe import recipe_from_dict
from showtell.training.run_folder import open_run
from showtell.training.trainer import train

PRECISIONS = ("float32", "float16", "int8")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "set"
    draw_shapes(folder, 120, size=64)
    return folder


@pytest.fixture(autouse=True)
def _quick_scores(request, monkeypatch):
    """Score without Java, whose start-up takes longer than all else here, unless asked."""
    if "with_java" not in request.fixturenames:
        monkeypatch.setattr("showtell.scoring.tokenized.find_java", lambda: None)


@pytest.fixture
def with_java():
    """Ask for the scores of the PTB tokenizer and METEOR."""


RUNS = ["run", "merge_run", "ensemble_run", "concept_run", "regions_run"]
LEARN_CONCEPTS = [{"epochs": 2, "objective": "concepts", "learning_rate": 0.01}]


def trained_run(
    folder: Path,
    shapes: Path,
    kind: str,
    members: int = 1,
    concept_weight: float = 0.0,
    concepts_from: str = "pooled",
) -> Path:
    recipe = recipe_from_dict(
        {
            "encoder": "test_efficientnet",
            "encoder_weights": "none",
            "image_size": 64,
            "decoder": {
                "kind": kind,
                "embedding": 32,
                "hidden": 32,
                "heads": 4,
                "dropout": 0.1,
                "members": members,
                "concept_weight": concept_weight,
                "concepts_from": concepts_from,
            },
            "min_count": 1,
            "batch_photos": 16,
            "precision": "float32",
            "stages": [
                {"epochs": 2, "learning_rate": 5e-3},
                *(LEARN_CONCEPTS if concept_weight else ()),
            ],
        }
    )
    return train(recipe, shapes, folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory, shapes):
    return trained_run(tmp_path_factory.mktemp("runs") / "attention", shapes, "attention")


@pytest.fixture(scope="module")
def merge_run(tmp_path_factory, shapes):
    return trained_run(tmp_path_factory.mktemp("runs") / "merge", shapes, "merge")


@pytest.fixture(scope="module")
def ensemble_run(tmp_path_factory, shapes):
    return trained_run(tmp_path_factory.mktemp("runs") / "ensemble", shapes, "attention", 2)


@pytest.fixture(scope="module")
def concept_run(tmp_path_factory, shapes):
    folder = tmp_path_factory.mktemp("runs") / "concepts"
    return trained_run(folder, shapes, "attention", 2, concept_weight=0.5)


@pytest.fixture(scope="module")
def regions_run(tmp_path_factory, shapes):
    folder = tmp_path_factory.mktemp("runs") / "regions"
    return trained_run(folder, shapes, "attention", 2, concept_weight=0.5, concepts_from="regions")


def photos_of(folder: Path, count: int = 12) -> list[Path]:
    return sorted((folder / "photos").glob("*.png"))[:count]


@pytest.mark.parametrize("which", RUNS)
def test_onnx_says_what_pytorch_says(which, request, shapes, tmp_path):
    made = export(request.getfixturevalue(which), tmp_path / "bundle", shapes)
    assert made.parity.photos == made.parity.same_captions > 5
    assert made.parity.largest_difference < 1e-4
    assert load_bundle(tmp_path / "bundle").manifest.decoder.attention == (which != "merge_run")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("which", RUNS)
def test_a_photo_is_read_alike_alone_and_with_others(which, precision, request):
    """No digit depends on the batch in 8 bits; wider products' last digits may."""
    model = open_run(request.getfixturevalue(which)).model
    model.encoder.grid = (7, 7)  # as many regions as of real photos: sums of few round alike
    begin, step = (at_precision(graph, precision) for graph in decoder_graphs(model))
    draw = np.random.default_rng(0)
    graphs = {
        "encoder": at_precision(encoder_graph(model), precision),
        "begin": begin,
        "step": step,
    }
    for name, graph in graphs.items():
        session = onnxruntime.InferenceSession(graph)
        given = {
            put.name: draw.integers(4, model.words, 8)
            if put.name == "tokens"
            else draw.normal(size=(8, *put.shape[1:])).astype(np.float32)
            * draw.lognormal(size=(8, *[1] * (len(put.shape) - 1))).astype(np.float32)
            for put in session.get_inputs()
        }
        together = session.run(None, given)
        for size in (1, 3):
            parts = [
                session.run(None, {name: rows[at : at + size] for name, rows in given.items()})
                for at in range(0, 8, size)
            ]
            for whole, *parted in zip(together, *parts, strict=True):
                wanted = 0 if precision == "int8" else 1e-5
                np.testing.assert_allclose(
                    np.concatenate(parted), whole, wanted, wanted, err_msg=name
                )


def test_a_bundle_captions_and_its_scores_are_those_that_evaluate_prints(
    run, shapes, tmp_path, with_java
):
    export(run, tmp_path / "bundle", shapes, name="shapes")
    captioner = Captioner.load(tmp_path / "bundle")
    manifest = captioner.bundle.manifest
    again = evaluate(captioner, shapes)
    assert manifest.name == "shapes"
    assert [asdict(line) for line in manifest.scores] == json.loads(json.dumps(again.summary()))
    captions = list(captioner.caption(photos_of(shapes)))
    assert all(caption.text and 0 <= caption.confidence <= 1 for caption in captions)
    card = (tmp_path / "bundle" / CARD).read_text()
    assert f"| all | {again.scores.photos} | {again.scores.bleu_1:.1f} |" in card
    assert "half" not in card  # dev is too small


def test_a_score_of_some_dev_photos_says_so(run, shapes, tmp_path):
    bundle = export(run, tmp_path / "bundle", shapes, dev_photos=2).bundle
    assert [(line.photos, line.limited) for line in bundle.manifest.scores] == [(2, True)]
    assert "Only the first 2 photos of the split were scored" in (bundle.path / CARD).read_text()


def test_scores_are_made_with_the_bundles_own_decoding(run, shapes, tmp_path):
    greedy_run = tmp_path / "greedy-run"
    shutil.copytree(run, greedy_run)
    description = json.loads((greedy_run / "run.json").read_text())
    description["recipe"]["decoding"] |= {"beam": 1, "length_penalty": 0.5}
    (greedy_run / "run.json").write_text(json.dumps(description))
    bundle = export(greedy_run, tmp_path / "bundle", shapes).bundle
    greedy = evaluate(bundle.path, shapes, beam=1, length_penalty=0.5)
    scores = [asdict(line) for line in bundle.manifest.scores]
    assert scores == json.loads(json.dumps(greedy.summary()))
    assert "Split dev, beam 1, length penalty 0.5, scorer" in (bundle.path / CARD).read_text()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_each_precision_gives_a_bundle_that_captions_much_alike(run, shapes, tmp_path, precision):
    made = export(run, tmp_path / "bundle", precision=precision)
    assert made.bundle.manifest.precision == PrecisionInfo(precision, precision)
    photos = photos_of(shapes)
    exact = list(Captioner.load(cached_bundle(run)).caption(photos))
    small = list(Captioner.load(tmp_path / "bundle").caption(photos))
    pairs = list(zip(exact, small, strict=True))
    # in a near tie another caption may win
    same = [(a, b) for a, b in pairs if a.text == b.text]
    far = [abs(a.log_probability - b.log_probability) for a, b in same]
    assert len(same) >= 0.9 * len(pairs)
    assert max(far) < 1.0
    assert precision == "float32" or max(far) > 0


def test_encoder_and_decoder_may_have_a_precision_each(run, tmp_path):
    target = tmp_path / "bundle"
    given = [str(run), "--output", str(target), "--precision"]
    assert CliRunner().invoke(export_command, [*given, "float16/int8"]).exit_code == 0
    assert load_bundle(target).manifest.precision == PrecisionInfo("float16", "int8")
    for wrong in ("int4", "float16/int8/int8", "auto/int8", "float16/"):
        refused = CliRunner().invoke(export_command, [*given, wrong])
        assert refused.exit_code == 2
        assert f"'{wrong}' is not one of auto, float32, float16, int8" in refused.output


def test_smaller_precisions_are_smaller_files(run):
    trained = open_run(run)
    graphs = [encoder_graph(trained.model), *decoder_graphs(trained.model)]
    for graph in graphs:
        sizes = [len(at_precision(graph, precision)) for precision in PRECISIONS]
        assert sizes[0] > sizes[1]
        assert sizes[0] > sizes[2]


def test_a_float16_file_is_computed_in_float32(run, tmp_path):
    graph = encoder_graph(open_run(run).model)
    half = onnxruntime.InferenceSession(at_precision(graph, "float16"))
    assert {out.type for out in half.get_outputs()} == {"tensor(float)"}
    pixels = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    exact = onnxruntime.InferenceSession(at_precision(graph, "float32"))
    ours, theirs = (session.run(None, {"pixels": pixels})[0] for session in (half, exact))
    assert 0 < np.abs(ours - theirs).max() < 0.01 * theirs.std()


def test_the_encoder_takes_any_batch_and_orders_regions_by_rows(run, shapes):
    trained = open_run(run)
    session = onnxruntime.InferenceSession(at_precision(encoder_graph(trained.model), "float32"))
    for batch in (1, 3):
        pixels = torch.randn(batch, 3, 64, 64)
        regions, pooled = session.run(["regions", "pooled"], {"pixels": pixels.numpy()})
        with torch.no_grad():
            expected = trained.model.encoder(pixels)
        np.testing.assert_allclose(regions, expected["regions"].numpy(), atol=1e-4)
        np.testing.assert_allclose(pooled, expected["pooled"].numpy(), atol=1e-4)


def test_auto_keeps_a_precision_only_where_dev_allows(run, shapes, tmp_path):
    made = export(run, tmp_path / "bundle", shapes, precision="auto")
    assert made.candidates[0].encoder == "float32"
    assert len(made.candidates) == 5
    chosen = made.bundle.manifest.precision
    last = [item for item in made.candidates if item.kept][-1]
    assert chosen == PrecisionInfo(last.encoder, last.decoder)
    base = made.candidates[0].evaluation.scores
    for item in made.candidates:
        scores = item.evaluation.scores
        if item.kept:
            assert scores.bleu_4 >= base.bleu_4 - 0.3
            assert scores.cider >= base.cider - 1


def test_a_precision_that_costs_too_much_is_not_kept(run, shapes):
    evaluation = evaluate(Captioner.load(cached_bundle(run)), shapes)
    worse = evaluate(Captioner.load(cached_bundle(run)), shapes)
    scores = worse.parts["all"]
    object.__setattr__(scores, "cider", scores.cider - 1.1)
    base = Candidate("float32", "float32", 1000, evaluation)
    assert not is_worth_it(Candidate("int8", "int8", 10, worse), [base])
    assert is_worth_it(Candidate("int8", "int8", 10, evaluation), [base])
    assert not is_worth_it(Candidate("int8", "int8", 1001, evaluation), [base])


def test_auto_without_data_says_what_to_give(run, tmp_path):
    with pytest.raises(ExportError, match="--data"):
        export(run, tmp_path / "bundle", precision="auto")


def test_an_export_that_differs_from_pytorch_is_refused(run, shapes, tmp_path):
    trained = open_run(run)
    bundle = load_bundle(cached_bundle(run))
    with torch.no_grad():
        trained.model.decoder.word.bias[5] += 3.0
    with pytest.raises(ExportError, match="differs from PyTorch"):
        check_parity(trained, bundle, None)


def test_a_failed_export_leaves_the_bundle_before_it_whole(run, tmp_path, monkeypatch):
    export(run, tmp_path / "bundle")
    before = {file.name: file.read_bytes() for file in (tmp_path / "bundle").iterdir()}
    monkeypatch.setattr("showtell.export.run_to_bundle.check_parity", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(run, tmp_path / "bundle")
    after = {file.name: file.read_bytes() for file in (tmp_path / "bundle").iterdir()}
    assert after == before
    assert list(tmp_path.iterdir()) == [tmp_path / "bundle"]


def test_a_run_is_exported_once_and_found_again_until_it_trains_on(run):
    first = cached_bundle(run)
    stamp = (first / ENCODER).stat().st_mtime_ns
    assert cached_bundle(run) == first
    assert (first / ENCODER).stat().st_mtime_ns == stamp
    description = run / "run.json"
    text = description.read_text()
    description.write_text(text + "\n")
    try:
        assert cached_bundle(run) != first
    finally:
        description.write_text(text)


def test_an_unfinished_run_is_no_model_yet(run, tmp_path):
    (tmp_path / "run.json").write_text((run / "run.json").read_text())
    with pytest.raises(TrainingError, match="no epoch is finished"):
        open_run(tmp_path)


def test_graphs_tell_nothing_of_the_machine_that_made_them(run):
    content = (cached_bundle(run) / DECODER_STEP).read_bytes()
    assert b"site-packages" not in content
    assert str(Path.cwd()).encode() not in content


def test_the_command_exports_and_commands_take_a_run(run, shapes, tmp_path):
    target = tmp_path / "bundle"
    done = subprocess.run(
        [sys.executable, "-m", "showtell", "export", str(run), "--output", str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "captions the same" in done.stdout
    photo = photos_of(shapes, 1)[0]
    with pytest.raises(BundleError, match=r"a training run, not a bundle: .*showtell export"):
        Captioner.load(run)
    captioned = subprocess.run(
        [sys.executable, "-m", "showtell", "caption", str(photo), "--model", str(run)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert captioned.returncode == 0, captioned.stderr
    assert captioned.stdout == f"{photo}: {Captioner.load(target).caption(photo).text}\n"


def test_what_a_person_found_out_stands_in_the_card(run, tmp_path):
    notes = tmp_path / "notes.md"
    notes.write_text("It calls every animal a dog.\n", encoding="utf-8")
    made = export(run, tmp_path / "bundle", notes=notes)
    card = (made.bundle.path / "MODEL_CARD.md").read_text("utf-8")
    assert "## Strengths and limits\n\nIt calls every animal a dog.\n\n## Terms" in card
    with pytest.raises(ExportError, match=r"gone\.md: the notes cannot be read"):
        export(run, tmp_path / "other", notes=tmp_path / "gone.md")
    assert not (tmp_path / "other").exists()


def test_the_card_of_an_ensemble_says_that_it_is_one(ensemble_run, tmp_path):
    card = export(ensemble_run, tmp_path / "bundle").bundle.path / "MODEL_CARD.md"
    assert "- Decoder: attention, LSTM of 32 units, ensemble of 2;" in card.read_text("utf-8")
