"""Small inputs of each kind that a Ray job reads, and their expected captions."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from showtell.captioner import Captioner
from showtell.files.photo_files import find_photos
from support.tiny_bundles import write_bundle

FIELDS = ["path", "text", "log_probability", "confidence", "alternatives", "keywords", "error"]


def photo(number: int, size: int = 40) -> bytes:
    """A PNG of a few colours, which depend on the number."""
    draw = np.random.default_rng(number)
    pixels = draw.integers(0, 255, (4, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((size, size)).save(buffer, "PNG")
    return buffer.getvalue()


def write_folder(folder: Path, count: int, *, bad: Iterable[int] = ()) -> Path:
    """Photos in a folder and a subfolder; the files of `bad` are not photos."""
    for number in range(count):
        parent = folder / ("inside" if number % 3 == 0 else "")
        parent.mkdir(parents=True, exist_ok=True)
        data = b"not a photo" if number in bad else photo(number)
        (parent / f"{number:05d}.png").write_bytes(data)
    return folder


def write_tar(path: Path, names: Iterable[tuple[str, bytes]]) -> Path:
    """A WebDataset shard without an index."""
    with tarfile.open(path, "w") as tar:
        for name, data in names:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def write_parquet(path: Path, columns: dict[str, Any], *, rows: int = 1000) -> Path:
    """A Parquet file with `rows` rows per row group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=rows)
    return path


def model(folder: Path) -> str:
    """A tiny model whose captions depend on colours; returns its folder."""
    write_bundle(folder)
    return str(folder)


def rows_of(output: Path) -> list[dict[str, Any]]:
    """The rows of a job's parts, read as a folder of Parquet files."""
    return pq.read_table(output).to_pylist()


def captions_of(model: str, folder: Path) -> Iterator[dict[str, Any]]:
    """The output of `showtell caption FOLDER --recursive --keywords`, without the model."""
    photos = find_photos([folder], recursive=True, report=lambda error: None)
    for caption in Captioner.load(model, threads=1).caption(photos):
        yield json.loads(json.dumps(caption.to_dict(keywords=True)))
