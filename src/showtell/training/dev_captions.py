"""What a run said of dev after each epoch: a few photos to read, all captions to count.

`samples/stage0-epoch00.txt` has a few photos with their references, for a person; the `.jsonl`
beside it has every caption, and `samples/references.jsonl` what people say of those photos.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from showtell.data.dataset import CaptionedPhoto
from showtell.files.atomic_write import atomic_write_text

FOLDER = "samples"
REFERENCES = "references.jsonl"
READABLE = 12  # photos in the text file
_EPOCH = re.compile(r"stage(\d+)-epoch(\d+)")


@dataclass(frozen=True)
class SaidEpoch:
    """The captions of dev after one epoch, in the order of dev."""

    stage: int
    epoch: int
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Said:
    """All that a run said of dev, by epoch, and the references, a tuple for each photo."""

    epochs: tuple[SaidEpoch, ...]
    references: tuple[tuple[str, ...], ...]


def write_said(
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


def read_said(run: Path) -> Said:
    """Read what a run said; of a run that kept text files alone, those few photos."""
    folder = run / FOLDER
    epochs = []
    for path in sorted(folder.glob("stage*-epoch*.jsonl")):
        captions = tuple(str(row["said"]) for row in _rows(path))
        epochs.append(SaidEpoch(*_place(path), captions))
    if epochs:
        rows = _rows(folder / REFERENCES)
        return Said(_in_order(epochs), tuple(tuple(row["references"]) for row in rows))
    references: tuple[tuple[str, ...], ...] = ()
    for path in sorted(folder.glob("stage*-epoch*.txt")):
        blocks = [block.splitlines()[1:] for block in path.read_text("utf-8").split("\n\n")]
        blocks = [block for block in blocks if block]
        said = tuple(block[0].removeprefix("  said: ") for block in blocks)
        references = tuple(
            tuple(line.removeprefix("  ref:  ") for line in block[1:]) for block in blocks
        )
        epochs.append(SaidEpoch(*_place(path), said))
    return Said(_in_order(epochs), references)


def _in_order(epochs: Iterable[SaidEpoch]) -> tuple[SaidEpoch, ...]:
    return tuple(sorted(epochs, key=lambda said: (said.stage, said.epoch)))


def _place(path: Path) -> tuple[int, int]:
    found = _EPOCH.match(path.name)
    assert found is not None
    return int(found[1]), int(found[2])


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    atomic_write_text(path, text, errors="surrogateescape")


def _rows(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text("utf-8", errors="surrogateescape").splitlines()
    return [json.loads(line) for line in lines]
