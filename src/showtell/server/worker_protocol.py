"""What the service and its workers say to each other: JSON with any number of byte strings.

Nothing is pickled: a worker decodes what strangers send, and nothing that it writes shall run.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Protocol

_LENGTH = 4  # bytes of the header's length, big-endian


class Readable(Protocol):
    """A file, or a socket's; it may give less than was asked for, and nothing at its end."""

    def read(self, size: int, /) -> bytes | None:
        """Read at most `size` bytes."""


def pack(header: dict[str, Any], parts: Sequence[bytes] = ()) -> list[bytes]:
    """Return a message as the pieces to be written one after the other."""
    head = json.dumps({**header, "sizes": [len(part) for part in parts]}).encode()
    return [len(head).to_bytes(_LENGTH, "big") + head, *parts]


def read(file: Readable) -> tuple[dict[str, Any], list[bytes]]:
    """Read a message; raises EOFError where the other side has gone."""
    header = json.loads(_exactly(file, int.from_bytes(_exactly(file, _LENGTH), "big")))
    return header, [_exactly(file, size) for size in header.pop("sizes")]


async def receive(reader: asyncio.StreamReader) -> tuple[dict[str, Any], list[bytes]]:
    """Read a message; raises IncompleteReadError (an EOFError) where the other side has gone."""
    size = int.from_bytes(await reader.readexactly(_LENGTH), "big")
    header = json.loads(await reader.readexactly(size))
    return header, [await reader.readexactly(size) for size in header.pop("sizes")]


def _exactly(file: Readable, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = file.read(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)
