"""Read the photos of any WebDataset shard in order, without an index: for captioning."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

from showtell.data.shard_photo import DAMAGED
from showtell.data.shards.address import INDEX, parse_address
from showtell.data.shards.index import UNKNOWN_SUFFIX, ShardError, open_index
from showtell.errors import DatasetError
from showtell.files.photo_files import SUFFIXES
from showtell.files.printable_names import printable
from showtell.files.remote import (
    Address,
    UnreadableFileError,
    join,
    list_files,
    open_file,
    translate_read_errors,
)

_MAX_MEMBER_BYTES = 1 << 29  # a member is read into memory as a whole
_READ_BYTES = 1 << 20


def list_shards(address: Path | str) -> list[Address]:
    """Return the addresses of the shards in a folder with or without an index.

    For the address of one shard, return that address. Raises DatasetError if there are no shards.
    """
    folder = parse_address(address)
    if str(folder).endswith(".tar"):
        return [folder]
    try:
        return [join(folder, shard.name) for shard in open_index(folder).shards]
    except UnreadableFileError as error:  # no index: other tar files, or a wrong address
        try:
            names = [name for name in list_files(folder) if name.endswith(".tar")]
        except UnreadableFileError:
            raise error from None
    if not names:
        raise DatasetError(f"{folder}: no shards: it contains neither {INDEX} nor tar files")
    return [join(folder, name) for name in names]


def iterate_shard(shard: Path | str) -> Iterator[tuple[str, bytes]]:
    """Yield the name and bytes of each photo of a shard, with one sample in memory at a time.

    The name is the one in the sample's JSON, unless it leads out of a folder, else the tar
    member's. The bytes are checked if the JSON contains a sha256.

    Raises ShardError if the shard is missing, truncated or damaged, or contains a link, a device or
    a name that leads out of a folder.
    """
    try:
        with open_file(shard) as file:
            reader = _TarReader(shard, file)
            sample = _Sample("")
            with tarfile.open(
                fileobj=cast(IO[bytes], reader), mode="r|", bufsize=_READ_BYTES
            ) as tar:
                for member in tar:
                    if member.isdir():
                        continue
                    key, name = _check_member(shard, member)
                    if key != sample.key:
                        yield from sample.photos(shard)
                        sample = _Sample(key)
                    content = tar.extractfile(member)
                    sample.add(name, content.read() if content else b"")
            if reader.is_truncated():
                raise ShardError(f"{shard}: cut off: the end-of-archive mark is missing")
            yield from sample.photos(shard)
    except ShardError:
        raise
    except UnreadableFileError as error:
        raise ShardError(str(error)) from error
    except tarfile.ReadError as error:
        fault = "cut off" if "end of data" in str(error) else "not a tar file"
        raise ShardError(f"{shard}: {fault} ({error})") from error
    except (tarfile.TarError, OSError, ValueError) as error:
        raise ShardError(f"{shard}: damaged ({error})") from error


@dataclass
class _Sample:
    """The members with one key: photos by member name, and the metadata from the JSON."""

    key: str
    members: list[tuple[str, bytes]] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, data: bytes) -> None:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in SUFFIXES or suffix == UNKNOWN_SUFFIX:
            self.members.append((name, data))
        elif suffix == ".json":
            try:
                metadata = json.loads(data)
            except ValueError:  # other tools may store anything in it
                return
            self.metadata = metadata if isinstance(metadata, dict) else {}

    def photos(self, shard: Address) -> Iterator[tuple[str, bytes]]:
        single = len(self.members) == 1  # else the metadata may belong to any of the photos
        for member, data in self.members:
            name, digest = self.metadata.get("name"), self.metadata.get("sha256")
            if single and isinstance(digest, str) and hashlib.sha256(data).hexdigest() != digest:
                raise ShardError(f"{shard}/{member}: {DAMAGED}")
            has_name = single and isinstance(name, str) and _stays_inside(PurePosixPath(name))
            yield (str(name) if has_name else member), data


def _check_member(shard: Address, member: tarfile.TarInfo) -> tuple[str, str]:
    """Return a member's key, which is its name up to the first dot, and its name.

    Raises ShardError for a link, a device, a name outside the folder, or a very large member.
    """
    path = PurePosixPath(member.name)
    if not member.isreg():
        raise ShardError(f"{shard}: '{printable(member.name)}' is a link or device: refused")
    if not _stays_inside(path):
        raise ShardError(f"{shard}: the name {member.name!r} leaves the folder: refused")
    if member.size > _MAX_MEMBER_BYTES:
        raise ShardError(f"{shard}: '{printable(member.name)}' has {member.size:,} bytes: refused")
    return str(path.parent / path.name.partition(".")[0]), str(path)


def _stays_inside(path: PurePosixPath) -> bool:
    """Return whether a path stays inside a folder: callers may write files under these names."""
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


class _TarReader:
    """A tar file that remembers its last block, which in a complete tar contains only zeros."""

    def __init__(self, shard: Address, file: BinaryIO) -> None:
        self.shard, self.file, self.last_block, self.ended = shard, file, b"", False

    def read(self, size: int) -> bytes:
        with translate_read_errors(self.shard):
            data = self.file.read(size)
        self.ended = self.ended or not data
        self.last_block = (self.last_block + data)[-tarfile.BLOCKSIZE :]
        return data

    def is_truncated(self) -> bool:
        return self.ended and any(self.last_block)
