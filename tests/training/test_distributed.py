"""Training on several ranks takes the steps of one process, and only one rank writes.

Ranks are processes that find each other as torchrun has them do; test_torchrun starts torchrun.
"""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from showtell.data import open_dataset
from showtell.data.shards.write import write_shards
from showtell.errors import RecipeError
from showtell.training.batches import Batch
from showtell.training.checkpoint import Checkpoints
from showtell.training.distributed import SINGLE, Ranks, join_ranks
from showtell.training.recipe import Recipe, Stage, recipe_from_dict
from showtell.training.trainer import train as train_here
from support.batches import Numbers, batches_of, photos_of
from support.training_runs import STEPS, TINY, Training, assert_same_run, log_of

# every objective, with cached features and with the encoder; an encoder that begins at random
# learns its batch norm, too
EVERYTHING: dict[str, Any] = {
    "batch_photos": 7,
    "save_steps": 0,
    "stages": [
        {"epochs": 2, "average": 0.9},
        {"epochs": 1, "objective": "words", "train_encoder": "all"},
        {"epochs": 1, "train_encoder": "all", "min_crop_area": 0.7, "color_jitter": 0.2},
        {
            "epochs": 1,
            "objective": "self_critical",
            "samples": 2,
            "learning_rate": 1e-4,
            "cross_entropy": 0.2,
            "bleu": 0.5,
        },
        {
            "epochs": 1,
            "objective": "self_critical",
            "samples": 3,
            "learning_rate": 1e-4,
            "train_encoder": "last",
        },
    ],
}
FROZEN = {"batch_photos": 7, "save_steps": 0, "stages": [{"epochs": 2, "average": 0.9}]}


def assert_about_the_same(one: Path, two: Path, tolerance: float = 2e-4) -> None:
    """The same losses, scores and weights, to the rounding of float32."""
    logs = log_of(one), log_of(two)
    assert len(logs[0]) == len(logs[1])
    for ours, theirs in zip(*logs, strict=True):
        assert ours.pop("event") == theirs.pop("event")
        assert ours == pytest.approx(theirs, rel=tolerance, abs=1e-5)
    ours, theirs = (Checkpoints(run).tensors("last", "model") for run in (one, two))
    assert list(ours) == list(theirs)
    for name, tensor in ours.items():
        # Adam makes a whole step of a gradient that is nearly zero: single weights may be apart
        off = float((tensor - theirs[name]).float().norm())
        assert off <= 2e-3 * float(tensor.float().norm()) + 3e-3, name


def said_of_dev(run: Path) -> list[str]:
    """The photos that an epoch's captions are of, epoch by epoch."""
    files = sorted((run / "samples").glob("stage*.jsonl"))
    assert files
    return [json.loads(line)["photo"] for file in files for line in file.read_text().splitlines()]


def test_two_ranks_take_the_steps_of_one_process(train: Training, tmp_path: Path) -> None:
    for name, ranks in (("one", 1), ("two", 2)):
        ended = train(tmp_path / name, recipe=EVERYTHING, ranks=ranks, without_dropout=True)
        assert set(ended.codes) == {0}, ended.stderr
    assert_about_the_same(tmp_path / "one", tmp_path / "two")
    step = log_of(tmp_path / "two")[-2]
    assert step["event"] == "step"
    assert {"loss", "reward", "sampled_words", "gradient_norm"} <= set(step)


def test_accumulated_parts_take_the_steps_of_whole_batches(train: Training, tmp_path: Path) -> None:
    for name, ranks, parts in (("one", 1, 1), ("parts", 1, 3), ("both", 2, 2)):
        ended = train(
            tmp_path / name,
            f"accumulate={parts}",
            recipe=FROZEN,
            ranks=ranks,
            without_dropout=True,
        )
        assert set(ended.codes) == {0}, ended.stderr
    assert_about_the_same(tmp_path / "one", tmp_path / "parts")
    assert_about_the_same(tmp_path / "one", tmp_path / "both")


def test_three_ranks_over_four_unequal_shards_train_as_one_on_loose_photos(
    train: Training, shapes: Path, tmp_path: Path
) -> None:
    """20 photos as 6, 6, 6 and 2; two dev photos, so that one rank has none; workers, too."""
    write_shards(open_dataset(shapes), tmp_path / "shards", photos_per_shard=6)
    shards = [path.name for path in (tmp_path / "shards").glob("*train*.tar")]
    assert len(shards) == 4
    recipe = FROZEN | {
        "stages": [{"epochs": 1}, {"epochs": 1, "train_encoder": "all", "min_crop_area": 0.7}]
    }
    ended = train(tmp_path / "one", recipe=recipe, without_dropout=True)
    assert ended.code == 0, ended.stderr
    ended = train(
        tmp_path / "three",
        "workers=1",
        recipe=recipe,
        ranks=3,
        without_dropout=True,
        data=tmp_path / "shards",
    )
    assert ended.codes == (0, 0, 0), ended.stderr
    assert_about_the_same(tmp_path / "one", tmp_path / "three")
    dev = [photo.name for photo in open_dataset(shapes).split("dev")]
    assert said_of_dev(tmp_path / "three") == dev * 2


def test_a_lost_rank_ends_the_others_and_two_ranks_resume_exactly(
    train: Training, two_ranks: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for count, (rank, step) in enumerate(((1, STEPS + 2), (0, STEPS + 3))):
        ended = train(run, resume=bool(count), ranks=2, hit=rank, step=step)
        assert ended.codes[rank] == -signal.SIGKILL
        assert ended.codes[1 - rank] == 1
        assert "Traceback" not in ended.stderr
        messages = [line for line in ended.stderr.splitlines() if line.startswith("showtell: ")]
        assert len(messages) == (rank != 0)  # by the first one, if it is still there
        assert all("another rank has stopped" in line for line in messages)
    shutil.copytree(run, tmp_path / "alone")
    ended = train(run, resume=True, ranks=2)
    assert ended.codes == (0, 0), ended.stderr
    assert_same_run(two_ranks, run)
    # and with another number it goes on from the same step, to as many steps
    ended = train(tmp_path / "alone", "accumulate=2", resume=True)
    assert ended.code == 0, ended.stderr
    assert "resuming at stage" in ended.stderr
    assert Checkpoints(tmp_path / "alone").progress("last").stage == 1
    places = [
        [(x["stage"], x["epoch"], x.get("step")) for x in log_of(r)]
        for r in (two_ranks, tmp_path / "alone")
    ]
    assert places[0] == places[1]


def test_a_signal_to_one_rank_stops_all_at_the_same_step(
    train: Training, two_ranks: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    ended = train(run, "save_steps=0", ranks=2, hit=1, step=STEPS + 3, number=signal.SIGTERM)
    assert ended.codes == (1, 1)
    messages = [line for line in ended.stderr.splitlines() if line.startswith("showtell: ")]
    position = "stage 0, epoch 1, step 3"
    assert messages == [f"showtell: stopped at {position}, all saved: resume with --resume auto"]
    assert Checkpoints(run).progress("last").step == 3
    assert train(run, "save_steps=0", resume=True, ranks=2).codes == (0, 0)
    assert_same_run(two_ranks, run)


def test_an_error_of_all_ranks_is_reported_once(
    train: Training, two_ranks: Path, tmp_path: Path
) -> None:
    shutil.copytree(two_ranks, tmp_path / "run")
    wrong: dict[str, tuple[list[str], str]] = {
        "run": ([], "already holds a run"),
        "none": (["min_count=9999"], "no word occurs 9999 times"),
        "diverged": (["stages.0.learning_rate=1e30"], "the last checkpoint is intact"),
    }
    for name, (overrides, message) in wrong.items():
        ended = train(tmp_path / name, *overrides, ranks=2)
        assert ended.codes == (1, 1)
        assert ended.stderr.count("showtell: ") == 1, ended.stderr
        assert message in ended.stderr
        assert "Traceback" not in ended.stderr


def test_an_error_of_one_rank_is_reported_by_it(train: Training, tmp_path: Path) -> None:
    """The first rank finds its disk full; the others are told that it has gone."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "samples").write_text("in the way")
    ended = train(tmp_path / "run", ranks=2)
    assert ended.codes == (1, 1)
    assert [x for x in ended.stderr.splitlines() if x.startswith("showtell: ")] != []
    assert "samples" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_compiled_encoder_trains_like_an_uncompiled_one(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced as for a GPU, but run by PyTorch's own kernels: a C++ compiler takes minutes."""
    compile_in_place = torch.nn.Module.compile
    traced: list[str] = []

    def trace(module: torch.nn.Module) -> None:
        traced.append(type(module).__name__)
        compile_in_place(module, backend="aot_eager")

    monkeypatch.setattr(torch.nn.Module, "compile", trace)
    stages = [{"epochs": 1}, {"epochs": 1, "train_encoder": "all", "learning_rate": 1e-4}]
    recipe = recipe_from_dict(TINY | {"save_steps": 0, "views": ["plain"], "stages": stages})
    cache = str(tmp_path / "features")
    for name in ("plain", "compiled"):
        keys = {"compile": name == "compiled", "feature_cache": f"{cache}-{name}"}
        train_here(replace(recipe, **keys), shapes, tmp_path / name)
    assert traced == ["Encoder"]
    assert_about_the_same(tmp_path / "plain", tmp_path / "compiled", tolerance=1e-3)


@settings(max_examples=30)
@given(
    st.integers(1, 23), st.integers(1, 7), st.integers(1, 5), st.integers(1, 3), st.integers(0, 9)
)
def test_ranks_and_parts_together_have_each_step(
    count: int, size: int, ranks: int, parts: int, epoch: int
) -> None:
    photos, keys = photos_of(count), {"batch_photos": size, "views": ("plain", "flip")}
    whole = list(batches_of(photos, **keys).epoch(Numbers(), Stage(epochs=1), 0, epoch))
    of_ranks = []
    for rank in range(ranks):
        batches = batches_of(photos, **keys, accumulate=parts)
        batches.ranks = Ranks(rank, ranks)
        of_ranks.append(list(batches.epoch(Numbers(), Stage(epochs=1), 0, epoch)))
    assert {len(batches_of_rank) for batches_of_rank in of_ranks} == {len(whole) * parts}
    for step, batch in enumerate(whole):
        pieces = [
            b
            for batches_of_rank in of_ranks
            for b in batches_of_rank[step * parts : (step + 1) * parts]
        ]
        assert all(piece.step_size == batch.step_size for piece in pieces)
        if ranks * parts == 1:
            assert pieces[0].share is None
            continue
        counted = [piece for piece in pieces if piece.share and piece.share.of_photos]
        assert tuple(p for piece in counted for p in piece.photos) == batch.photos
        assert sum(shares(counted, "of_photos")) == pytest.approx(1)
        assert sum(shares(pieces, "of_tokens")) == pytest.approx(1)
        assert sum(shares(pieces[:parts], "of_turn")) == pytest.approx(1)
        flips = [f for piece in counted for f in piece.features["flip"].tolist()]
        assert flips == batch.features["flip"].tolist()
        words = [row for piece in counted for row in trimmed(piece)]
        assert words == trimmed(batch)


def shares(pieces: list[Batch], name: str) -> list[float]:
    return [getattr(piece.share, name) for piece in pieces]


def trimmed(batch: Batch) -> list[list[int]]:
    return [[word for word in row if word] for row in batch.inputs.tolist()]


def test_worker_processes_give_the_batches_of_a_thread() -> None:
    batches_of_workers = {}
    for workers in (0, 2):
        batches = batches_of(photos_of(11))
        batches.workers = workers
        batches_of_workers[workers] = list(batches.epoch(Numbers(), Stage(epochs=1), 1, 2, first=1))
    assert len(batches_of_workers[0]) == 2
    for one, two in zip(batches_of_workers[0], batches_of_workers[2], strict=True):
        assert one.photos == two.photos
        assert torch.equal(one.inputs, two.inputs)
        assert one.packing.sizes == two.packing.sizes
        assert torch.equal(one.features["flip"], two.features["flip"])


def test_a_single_process_does_not_communicate() -> None:
    assert SINGLE.first
    assert SINGLE.all_gather("x") == ["x"]
    assert SINGLE.all_reduce_sum([1.5, 2]) == [1.5, 2]
    assert list(SINGLE.shard(range(5))) == [0, 1, 2, 3, 4]
    assert SINGLE.gather_shards(["a", "b"], 2) == ["a", "b"]
    assert SINGLE.on_rank_zero(lambda: 7) == 7
    layer = torch.nn.Linear(1, 1)
    assert SINGLE.wrap_ddp(layer, find_unused=True) is layer
    assert not torch.distributed.is_initialized()


def test_shards_of_ranks_make_up_the_whole() -> None:
    for count in (1, 2, 3, 7):
        shards = [list(Ranks(rank, count).shard(range(5))) for rank in range(count)]
        assert sorted(np.concatenate(shards).tolist()) == [0, 1, 2, 3, 4]


def test_an_unavailable_device_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "LOCAL_RANK": "1"}
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(RecipeError, match=r"2 ranks on a machine with 1 GPUs.*--nproc-per-node 1"),
        join_ranks("cuda"),
    ):
        pass


@pytest.mark.parametrize("key", ["accumulate", "workers"])
def test_wrong_numbers_are_refused_by_key(key: str) -> None:
    with pytest.raises(RecipeError, match=f"{key}: must"):
        Recipe(**{key: -1})  # type: ignore[arg-type]
