"""Checkpoints are complete or absent after kills, full disks and damaged files."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from showtell.errors import TrainingError
from showtell.training.checkpoint import (
    Checkpoints,
    TrainingProgress,
    load_optimizer,
    optimizer_tensors,
    read_run_json,
    read_tensors,
    trained_tensors,
    write_run_json,
)


def tensors(value: float, count: int = 3) -> dict[str, torch.Tensor]:
    return {f"weight{i}": torch.full((4, 5), value + i) for i in range(count)}


def folders(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_a_checkpoint_is_read_back_exactly(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    progress = TrainingProgress(1, 2, 3, 0.1 + 0.2, 1, 1e-17, 5, 7.25)
    checkpoints.save("last", "1-2-3", progress, model=tensors(1.5), other=tensors(-1, 1))
    assert checkpoints.has("last")
    assert not checkpoints.has("best")
    assert checkpoints.progress("last") == progress  # floats too, to the last bit
    stored = checkpoints.tensors("last", "model")
    assert all(torch.equal(stored[name], tensor) for name, tensor in tensors(1.5).items())


def test_a_checkpoint_replaces_the_previous_one(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in range(3):
        checkpoints.save("last", f"0-0-{step}", TrainingProgress(step=step), model=tensors(step))
    checkpoints.save("best", "0-0", TrainingProgress(), model=tensors(9))
    assert folders(checkpoints) == ["best-0-0", "best.json", "last-0-0-2", "last.json"]
    assert checkpoints.progress("last").step == 2


def test_writing_a_checkpoint_again_never_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Best is written again after a kill before last: killed again, the first is still whole."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("best", "0-4", TrainingProgress(epoch=4), model=tensors(1))
    real = shutil.rmtree

    def watched(path: Path, **options: object) -> None:
        real(path, ignore_errors=True)
        assert checkpoints.tensors("best", "model")  # whole at every moment

    monkeypatch.setattr(shutil, "rmtree", watched)
    for value in (2, 3, 4):
        checkpoints.save("best", "0-4", TrainingProgress(epoch=4), model=tensors(value))
        assert float(checkpoints.tensors("best", "model")["weight0"][0, 0]) == value
    assert len(folders(checkpoints)) == 2


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    (checkpoints.folder / ".last-0-0-7.tmp").mkdir(parents=True)
    (checkpoints.folder / "last-0-0-7").mkdir()
    checkpoints.save("last", "0-0-9", TrainingProgress(), model=tensors(1))
    assert folders(checkpoints) == ["last-0-0-9", "last.json"]


SAVE_LARGE = """
import resource, sys, torch
from pathlib import Path
from showtell.errors import TrainingError
from showtell.training.checkpoint import Checkpoints, TrainingProgress
limit = int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
group = {"weight": torch.ones(64, 1024)}
try:
    Checkpoints(Path(sys.argv[1])).save("last", "0-0-2", TrainingProgress(step=2), a=group, b=group)
except TrainingError as error:
    print(error)
"""


def check_the_first_is_whole(checkpoints: Checkpoints, output: str) -> None:
    assert "the checkpoint could not be written" in output
    assert "the one before is whole" in output
    assert len(output.strip().splitlines()) == 1
    assert checkpoints.progress("last").step == 1
    assert torch.equal(checkpoints.tensors("last", "a")["weight0"], tensors(1)["weight0"])
    assert folders(checkpoints) == ["last-0-0-1", "last.json"]


@pytest.mark.parametrize("limit", [100, 100_000])
def test_a_failed_save_leaves_the_previous_checkpoint(tmp_path: Path, limit: int) -> None:
    """The disk takes `limit` bytes a file: less than the header, or half of the weights."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", "0-0-1", TrainingProgress(step=1), a=tensors(1), b=tensors(1))
    run = subprocess.run(
        [sys.executable, "-c", SAVE_LARGE, str(tmp_path), str(limit)],
        capture_output=True,
        text=True,
        check=True,
    )
    check_the_first_is_whole(checkpoints, run.stdout)


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path: Path) -> None:
    """On a small file system of its own, mounted where nobody else sees it."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("may not mount a file system here")
    mount, copy_of_mount = tmp_path / "mount", tmp_path / "seen"
    mount.mkdir()
    first = Checkpoints(tmp_path / "first")
    first.save("last", "0-0-1", TrainingProgress(step=1), a=tensors(1), b=tensors(1))
    script = (
        'mount -t tmpfs -o size=400k none "$1" && cp -r "$2"/. "$1" && "$3" -c "$4" "$1" 0;'
        ' code=$?; cp -r "$1" "$5"; exit $code'
    )
    run = subprocess.run(
        [
            "unshare",
            "-rm",
            "sh",
            "-c",
            script,
            "sh",
            mount,
            tmp_path / "first",
            sys.executable,
            SAVE_LARGE,
            copy_of_mount,
        ],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    check_the_first_is_whole(Checkpoints(copy_of_mount), run.stdout)


def test_a_damaged_or_missing_file_is_named(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("best", "0-0", TrainingProgress(), model=tensors(1))
    file = checkpoints.folder / "best-0-0" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(TrainingError, match=r"best-0-0/model\.safetensors: damaged or missing"):
        checkpoints.tensors("best", "model")
    file.unlink()
    with pytest.raises(TrainingError, match=r"best-0-0/model\.safetensors: damaged or missing"):
        read_tensors(file)
    (checkpoints.folder / "best.json").write_text("{")
    with pytest.raises(TrainingError, match=r"best\.json: cannot be read"):
        checkpoints.progress("best")
    with pytest.raises(TrainingError, match=r"last\.json: no such file: not a training run"):
        checkpoints.progress("last")


def test_json_is_replaced_atomically(tmp_path: Path) -> None:
    write_run_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(TypeError):
        write_run_json(tmp_path / "a.json", {"new": object()})
    assert read_run_json(tmp_path / "a.json") == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_tied_weights_are_stored_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.word = nn.Embedding(5, 3), nn.Linear(3, 5)
            self.word.weight = self.embed.weight
            self.register_buffer("count", torch.zeros(2))

    assert sorted(trained_tensors(Tied())) == ["count", "embed.weight", "word.bias"]


def test_a_restored_optimizer_takes_the_same_steps(tmp_path: Path) -> None:
    """Convolutions lie channels last: moments in another order of memory would be scrambled."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    names = [name for name, _ in network.named_parameters()]
    batches = torch.randn(6, 5, 3, 6, 6)

    def optimizer_of(model: nn.Module) -> torch.optim.AdamW:
        return torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)

    def step(model: nn.Module, optimizer: torch.optim.AdamW, batch: torch.Tensor) -> None:
        model(batch.contiguous(memory_format=torch.channels_last)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    optimizer = optimizer_of(network)
    for batch in batches[:3]:
        step(network, optimizer, batch)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", "0", TrainingProgress(), optimizer=optimizer_tensors(optimizer, names))
    resumed = copy.deepcopy(network)
    other = optimizer_of(resumed)
    load_optimizer(other, names, checkpoints.tensors("last", "optimizer"))
    for batch in batches[3:]:
        step(network, optimizer, batch)
        step(resumed, other, batch)
    for a, b in zip(network.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
