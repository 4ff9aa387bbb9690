"""A photo inside a shard, which takes the place of a file's path in a dataset."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from showtell.errors import PhotoError
from showtell.files.remote import Address, UnreadableFileError, read_range

DAMAGED = "damaged: its checksum is another than when it was packed"


@dataclass(frozen=True, slots=True)
class ShardPhoto:
    """A photo inside a shard: `size` bytes from `offset` on, with this `sha256`."""

    shard: Address
    name: str
    offset: int
    size: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.shard}/{self.name}"

    @property
    def filename(self) -> str:
        """The photo's name in messages."""
        return str(self)

    def read_bytes(self) -> bytes:
        """Return the photo's bytes.

        Raises PhotoError if they cannot be read or differ from those that were packed. Its message
        does not name the photo, because `open_photo` does.
        """
        try:
            data = read_range(self.shard, self.offset, self.size)
        except UnreadableFileError as error:
            raise PhotoError(str(error).removeprefix(f"{self.shard}: ")) from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise PhotoError(DAMAGED)
        return data
