"""The messages between the service and its workers: a JSON header and any number of byte strings.

Nothing is pickled. A worker decodes untrusted photos, so the service must not execute what a
worker sends.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Protocol

_LENGTH_BYTES = 4  # the header's length, big-endian


class ReadableStream(Protocol):
    """A file or socket stream; a read may return fewer bytes, and returns none at the end."""

    def read(self, size: int, /) -> bytes | None:
        """Read at most `size` bytes."""


def encode_message(header: dict[str, Any], parts: Sequence[bytes] = ()) -> list[bytes]:
    """Return a message as byte strings, to be written in order."""
    head = json.dumps({**header, "sizes": [len(part) for part in parts]}).encode()
    return [len(head).to_bytes(_LENGTH_BYTES, "big") + head, *parts]


def read_message(stream: ReadableStream) -> tuple[dict[str, Any], list[bytes]]:
    """Read a message; raises EOFError if the other side has closed the stream."""
    header_size = int.from_bytes(_read_exactly(stream, _LENGTH_BYTES), "big")
    header = json.loads(_read_exactly(stream, header_size))
    return header, [_read_exactly(stream, size) for size in header.pop("sizes")]


async def receive_message(reader: asyncio.StreamReader) -> tuple[dict[str, Any], list[bytes]]:
    """Read a message from an asyncio stream; raises EOFError if the other side has closed it."""
    header_size = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
    header = json.loads(await reader.readexactly(header_size))
    return header, [await reader.readexactly(size) for size in header.pop("sizes")]


def _read_exactly(stream: ReadableStream, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = stream.read(size - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)
