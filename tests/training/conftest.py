"""Fixtures for training: small data, and commands as real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from showtell.data.synthetic.shapes import draw_shapes
from support.training_runs import Commands, Training


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    commands = Commands(tmp_path_factory.mktemp("commands"))
    yield commands
    commands.close()


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 photos of shapes: 20 of them train, 2 dev, 2 test."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    draw_shapes(folder, 24, size=32)
    return folder


@pytest.fixture
def train(commands: Commands, shapes: Path, tmp_path: Path) -> Training:
    return Training(commands, shapes, tmp_path)


@pytest.fixture(scope="session")
def never_killed(
    tmp_path_factory: pytest.TempPathFactory, commands: Commands, shapes: Path
) -> Path:
    folder = tmp_path_factory.mktemp("never")
    ended = Training(commands, shapes, folder)(folder / "run")
    assert ended.code == 0, ended.stderr
    return folder / "run"


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory: pytest.TempPathFactory, commands: Commands, shapes: Path) -> Path:
    """The tiny recipe on two ranks, never disturbed."""
    folder = tmp_path_factory.mktemp("two")
    ended = Training(commands, shapes, folder)(folder / "run", ranks=2)
    assert ended.codes == (0, 0), ended.stderr
    return folder / "run"
