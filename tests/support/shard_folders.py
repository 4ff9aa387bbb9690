"""Small shards for tests, on disk or at an address."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec

from showtell.data.dataset import CaptionedPhoto, Dataset
from support.file_server import FileServer, serve


def made_dataset(folder: Path, counts: dict[str | None, int]) -> Dataset:
    """Return photos of a few bytes, which are not images: readers of shards do not decode them."""
    folder.mkdir(parents=True, exist_ok=True)
    photos = []
    for split, count in counts.items():
        for number in range(count):
            path = folder / f"{split}-{number}.jpg"
            path.write_bytes(f"{split} {number} ".encode() * (1 + number % 7))
            captions = tuple(f"caption {n} of {number}" for n in range(1 + number % 3))
            photos.append(CaptionedPhoto(path.name, path, captions, split))
    return Dataset(folder, "made", tuple(photos))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def in_memory(folder: Path) -> str:
    """Copy a folder into fsspec's memory file system and return its new address."""
    address = f"memory://{uuid.uuid4().hex}"
    system, path = fsspec.core.url_to_fs(address)
    for name, data in contents(folder).items():
        system.pipe_file(f"{path}/{name}", data)
    return address


@contextmanager
def over_http(folder: Path) -> Iterator[FileServer]:
    with serve({f"/set/{name}": data for name, data in contents(folder).items()}) as server:
        yield server


def change(folder: Path, name: str, offset: int, mask: int = 0xFF) -> None:
    """Change one byte of a file."""
    data = bytearray((folder / name).read_bytes())
    data[offset] ^= mask
    (folder / name).write_bytes(data)
