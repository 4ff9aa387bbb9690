"""Shards for tests: small, of any number of photos each, on disk or at an address."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import fsspec

from showtell.data.dataset import CaptionedPhoto, Dataset
from showtell.data.shards.index import ShardIndex, open_index
from showtell.data.shards.write import write_shards
from support.file_server import FileServer, serve


def made_dataset(folder: Path, counts: dict[str | None, int]) -> Dataset:
    """Photos that are a few bytes each, and no pictures: no reader of shards looks into them."""
    folder.mkdir(parents=True, exist_ok=True)
    photos = []
    for split, count in counts.items():
        for number in range(count):
            path = folder / f"{split}-{number}.jpg"
            path.write_bytes(f"{split} {number} ".encode() * (1 + number % 7))
            captions = tuple(f"caption {n} of {number}" for n in range(1 + number % 3))
            photos.append(CaptionedPhoto(path.name, path, captions, split))
    return Dataset(folder, "made", tuple(photos))


def uneven_shards(folder: Path, counts: Sequence[int]) -> ShardIndex:
    """Shards of train with so many photos each, as several hands may have put them together."""
    dataset = made_dataset(folder / "loose", {"train": sum(counts)})
    shards, first = [], 0
    (folder / "shards").mkdir()
    for place, count in enumerate(counts):
        own = Dataset(dataset.root, dataset.layout, dataset.photos[first : first + count])
        first += count
        index = write_shards(own, folder / "parts" / str(place), photos_per_shard=count, workers=1)
        for suffix in ("tar", "jsonl"):
            source = folder / "parts" / str(place) / f"train-000000.{suffix}"
            source.rename(folder / "shards" / f"train-{place:06d}.{suffix}")
        text = (folder / "parts" / str(place) / "index.json").read_text()
        [shard] = json.loads(text)["shards"]
        shards.append(shard | {"name": f"train-{place:06d}.tar"})
        assert index.photos("train") == count
    kept = json.loads(text) | {"shards": shards}
    (folder / "shards" / "index.json").write_text(json.dumps(kept))
    return open_index(folder / "shards")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def in_memory(folder: Path) -> str:
    """Copy a folder into fsspec's memory, at an address that nothing was read from before."""
    address = f"memory://{uuid.uuid4().hex}"
    system, path = fsspec.core.url_to_fs(address)
    for name, data in contents(folder).items():
        system.pipe_file(f"{path}/{name}", data)
    return address


@contextmanager
def over_http(folder: Path) -> Iterator[FileServer]:
    with serve({f"/set/{name}": data for name, data in contents(folder).items()}) as server:
        yield server


def change(folder: Path, name: str, place: int, mask: int = 0xFF) -> None:
    """Change one byte of a file."""
    data = bytearray((folder / name).read_bytes())
    data[place] ^= mask
    (folder / name).write_bytes(data)
