"""Any WebDataset shard read front to back, without index or table: for captioning, not training."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

from showtell.data.shards.address import INDEX, parse_address
from showtell.data.shards.index import DAMAGED, OTHER_SUFFIX, ShardError, open_index
from showtell.errors import DatasetError
from showtell.files.photo_files import SUFFIXES
from showtell.files.printable_names import printable
from showtell.files.remote import Address, UnreadableFileError, join, list_files, open_file, reading

_LARGEST = 1 << 29  # bytes of one member: each is held in memory
_BLOCK = 1 << 20


def list_shards(address: Path | str) -> list[Address]:
    """Return the addresses of the shards in a folder, ours or any tar files; of one, its own.

    Raises DatasetError where there are none.
    """
    folder = parse_address(address)
    if str(folder).endswith(".tar"):
        return [folder]
    try:
        return [join(folder, shard.name) for shard in open_index(folder).shards]
    except UnreadableFileError as error:  # somebody else's, or an address that is none
        try:
            names = [name for name in list_files(folder) if name.endswith(".tar")]
        except UnreadableFileError:
            raise error from None
    if not names:
        raise DatasetError(f"{folder}: no shards: it holds neither {INDEX} nor tar files")
    return [join(folder, name) for name in names]


def iterate_shard(shard: Path | str) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of each photo of a shard, one in memory at a time.

    The name is the one that the sample's JSON gives, unless it leads out of a folder, else the
    member's. Where the JSON gives a sha256, the bytes are those. Raises ShardError where the shard
    is gone, cut off or damaged, or holds a link, a device or a name that leads out of a folder.
    """
    try:
        with open_file(shard) as file:
            watched = _Watched(shard, file)
            sample = _Sample("")
            with tarfile.open(fileobj=cast(IO[bytes], watched), mode="r|", bufsize=_BLOCK) as tar:
                for member in tar:
                    if member.isdir():
                        continue
                    key, name = _named(shard, member)
                    if key != sample.key:
                        yield from sample.photos(shard)
                        sample = _Sample(key)
                    content = tar.extractfile(member)
                    sample.add(name, content.read() if content else b"")
            if watched.is_cut_off():
                raise ShardError(f"{shard}: cut off: it ends without the mark of a tar's end")
            yield from sample.photos(shard)
    except ShardError:
        raise
    except UnreadableFileError as error:
        raise ShardError(str(error)) from error
    except tarfile.ReadError as error:
        cut = "end of data" in str(error)
        raise ShardError(f"{shard}: {'cut off' if cut else 'no tar file'} ({error})") from error
    except (tarfile.TarError, OSError, ValueError) as error:
        raise ShardError(f"{shard}: damaged ({error})") from error


@dataclass
class _Sample:
    """The members of one key: photos, and what is said of them."""

    key: str
    found: list[tuple[str, bytes]] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, data: bytes) -> None:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in SUFFIXES or suffix == OTHER_SUFFIX:
            self.found.append((name, data))
        elif suffix == ".json":
            try:
                about = json.loads(data)
            except ValueError:  # of somebody else's, who may mean anything by it
                return
            self.about = about if isinstance(about, dict) else {}

    def photos(self, shard: Address) -> Iterator[tuple[str, bytes]]:
        alone = len(self.found) == 1
        for member, data in self.found:
            name, digest = self.about.get("name"), self.about.get("sha256")
            if alone and isinstance(digest, str) and hashlib.sha256(data).hexdigest() != digest:
                raise ShardError(f"{shard}/{member}: {DAMAGED}")
            given = alone and isinstance(name, str) and _stays_inside(PurePosixPath(name))
            yield (str(name) if given else member), data


def _named(shard: Address, member: tarfile.TarInfo) -> tuple[str, str]:
    """Return a member's key, up to the first dot of its name, and its name; refuse what is odd."""
    path = PurePosixPath(member.name)
    if not member.isreg():
        raise ShardError(f"{shard}: '{printable(member.name)}' is a link or device: refused")
    if not _stays_inside(path):
        raise ShardError(f"{shard}: the name {member.name!r} leaves the folder: refused")
    if member.size > _LARGEST:
        raise ShardError(f"{shard}: '{printable(member.name)}' has {member.size:,} bytes: refused")
    return str(path.parent / path.name.partition(".")[0]), str(path)


def _stays_inside(path: PurePosixPath) -> bool:
    """Say whether a name is one inside a folder: who asks for names may write files by them."""
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


class _Watched:
    """A tar's bytes on their way, to tell whether they end as a tar does: with zeros."""

    def __init__(self, shard: Address, file: BinaryIO) -> None:
        self.shard, self.file, self.last, self.ended = shard, file, b"", False

    def read(self, size: int) -> bytes:
        with reading(self.shard):
            data = self.file.read(size)
        self.ended = self.ended or not data
        self.last = (self.last + data)[-tarfile.BLOCKSIZE :]
        return data

    def is_cut_off(self) -> bool:
        return self.ended and any(self.last)
