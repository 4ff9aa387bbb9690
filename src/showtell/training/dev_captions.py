"""The captions of dev photos after each epoch: some to read, all of them to count.

In the run folder, `samples/stage0-epoch00.txt` has a few photos with their references, to read.
The `.jsonl` of the same name has every caption, and `samples/references.jsonl` the references.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from showtell.data.dataset import CaptionedPhoto
from showtell.files.atomic_write import atomic_write

FOLDER = "samples"
REFERENCES = "references.jsonl"
READABLE = 12  # photos in the text file
_EPOCH = re.compile(r"stage(\d+)-epoch(\d+)")


@dataclass(frozen=True)
class EpochCaptions:
    """The captions of the dev photos after one epoch, in the order of the photos."""

    stage: int
    epoch: int
    captions: tuple[str, ...]


@dataclass(frozen=True)
class DevCaptions:
    """A run's captions of dev, by epoch, and the references of each photo."""

    epochs: tuple[EpochCaptions, ...]
    references: tuple[tuple[str, ...], ...]


def write_dev_captions(
    run: Path, stage: int, epoch: int, photos: Sequence[CaptionedPhoto], captions: Sequence[str]
) -> None:
    """Write the captions of dev after an epoch into the run folder."""
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    lines = []
    for photo, caption in list(zip(photos, captions, strict=True))[:READABLE]:
        references = [f"  ref:  {text}" for text in photo.captions]
        lines += [photo.name, f"  said: {caption}", *references, ""]
    name = f"stage{stage}-epoch{epoch:02d}"
    (folder / f"{name}.txt").write_text("\n".join(lines), "utf-8")
    rows = ({"photo": p.name, "said": c} for p, c in zip(photos, captions, strict=True))
    _write_rows(folder / f"{name}.jsonl", rows)
    references_file = folder / REFERENCES
    if not references_file.is_file():
        _write_rows(
            references_file, ({"photo": p.name, "references": list(p.captions)} for p in photos)
        )


def read_dev_captions(run: Path) -> DevCaptions:
    """Read a run's captions of dev; old runs have only text files with a few photos."""
    folder = run / FOLDER
    epochs = []
    for path in sorted(folder.glob("stage*-epoch*.jsonl")):
        captions = tuple(str(row["said"]) for row in _read_rows(path))
        epochs.append(EpochCaptions(*_stage_and_epoch(path), captions))
    if epochs:
        rows = _read_rows(folder / REFERENCES)
        return DevCaptions(_sorted(epochs), tuple(tuple(row["references"]) for row in rows))
    references: tuple[tuple[str, ...], ...] = ()
    for path in sorted(folder.glob("stage*-epoch*.txt")):
        blocks = [block.splitlines()[1:] for block in path.read_text("utf-8").split("\n\n")]
        blocks = [block for block in blocks if block]
        captions = tuple(block[0].removeprefix("  said: ") for block in blocks)
        references = tuple(
            tuple(line.removeprefix("  ref:  ") for line in block[1:]) for block in blocks
        )
        epochs.append(EpochCaptions(*_stage_and_epoch(path), captions))
    return DevCaptions(_sorted(epochs), references)


def _sorted(epochs: Iterable[EpochCaptions]) -> tuple[EpochCaptions, ...]:
    return tuple(sorted(epochs, key=lambda epoch: (epoch.stage, epoch.epoch)))


def _stage_and_epoch(path: Path) -> tuple[int, int]:
    match = _EPOCH.match(path.name)
    assert match is not None
    return int(match[1]), int(match[2])


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    temporary = path.with_name(f".{path.name}.tmp")  # a fixed name: a resumed run writes it again
    with atomic_write(path, errors="surrogateescape", temporary=temporary) as file:
        file.write(text)


def _read_rows(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text("utf-8", errors="surrogateescape").splitlines()
    return [json.loads(line) for line in lines]
