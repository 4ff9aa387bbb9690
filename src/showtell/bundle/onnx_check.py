"""Refuse an ONNX file that could read other files or run foreign code, before it is loaded.

ONNX allows a tensor's values to be in another file ("external data"), and ONNX Runtime also takes
them from an address in memory (`_ORT_MEM_ADDR_`). Some operators name files too. A bundle needs
none of that: its files are whole and have hashes in the manifest. The light install has no `onnx`
package, so the few messages of `onnx.proto` that matter are walked here by their field numbers.
Source: https://protobuf.dev/programming-guides/encoding and onnx.proto of ONNX 1.17.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from showtell.errors import BundleError
from showtell.files.os_errors import error_reason

MAX_ONNX_BYTES = 1 << 30
MAX_FIELDS = 2_000_000  # that are looked at: some seconds of work
MAX_DEPTH = 32  # messages inside messages; a subgraph is three deeper than its graph
DOMAINS = ("", "ai.onnx", "com.microsoft")
REFUSED_OPERATORS = {
    "EPContext": "which opens other files",
    "Loop": "which can run without end",
    "Scan": "which can run for days",
}
_ORT_FORMAT = b"ORTM"  # at byte 4 of a file in ONNX Runtime's own format
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types

# The fields of a message that hold messages to look into, by number.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "operator set", 14: "metadata", 20: "training"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse tensor",
        23: "sparse tensor",
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
    "operator set": {},
    "metadata": {},
}
_DOMAIN_FIELDS = {("node", 7), ("operator set", 1)}
_OPERATOR_FIELD = ("node", 4)
_FUNCTION_FIELD = ("model", 25)
_EXTERNAL_FIELDS = {("tensor", 13), ("tensor", 14)}  # external_data, data_location
_METADATA_KEY_FIELD = ("metadata", 1)
_RUNTIME_SETTINGS = b"ort_config"  # session options inside the model


def read_onnx(path: Path) -> bytes:
    """Return the bytes of an ONNX file that holds all its data itself.

    Raises BundleError, naming the file, if it cannot be read or `check_onnx` refuses it.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size  # a larger buffer would be allocated whole
            data = file.read(min(size, MAX_ONNX_BYTES) + 1)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error_reason(error)})") from None
    check_onnx(data, path)
    return data


def check_onnx(data: bytes, source: Path | str) -> None:
    """Check that an ONNX file is whole and self-contained; `source` is the file that errors name.

    Raises BundleError for external data, operators outside ONNX's and ONNX Runtime's own domains,
    operators that open files or loop, functions, ONNX Runtime's own file format, and bytes that are
    not a message.
    """
    if len(data) > MAX_ONNX_BYTES:
        raise BundleError(f"{source}: larger than {MAX_ONNX_BYTES:,} bytes: not loaded")
    if data[4:8] == _ORT_FORMAT:
        raise BundleError(f"{source}: in ONNX Runtime's own format: a bundle holds ONNX files")
    _Walk(data, source).message("model", 0, len(data), 0)


class _Walk:
    """Looks through one file; `fields` counts what it has looked at."""

    def __init__(self, data: bytes, source: Path | str) -> None:
        self.data, self.source, self.fields = data, source, 0

    def fail(self, fault: str) -> BundleError:
        return BundleError(f"{self.source}: {fault}: not loaded")

    def damaged(self, position: int) -> BundleError:
        return BundleError(f"{self.source}: not an ONNX file, or damaged (at byte {position:,})")

    def message(self, kind: str, start: int, end: int, depth: int) -> None:
        """Check one message and those in it."""
        if depth > MAX_DEPTH:
            raise self.fail("nested too deeply")
        inner = _MESSAGES[kind]
        for number, wire_type, value, size in self.split(start, end):
            if wire_type == _BYTES and number in inner:
                self.message(inner[number], value, value + size, depth + 1)
            else:
                self.field((kind, number), wire_type, value, size)

    def field(self, field: tuple[str, int], wire_type: int, value: int, size: int) -> None:
        """Refuse a field that leads out of the file."""
        if field in _EXTERNAL_FIELDS and (wire_type != _VARINT or value):
            raise self.fail("keeps a tensor's values outside the file (external data)")
        if wire_type != _BYTES:
            return
        if field in _DOMAIN_FIELDS:
            domain = self.text(value, size)
            if domain not in DOMAINS:
                raise self.fail(f"uses operators of the unknown domain {domain!r}")
        elif field == _OPERATOR_FIELD and (name := self.text(value, size)) in REFUSED_OPERATORS:
            raise self.fail(f"uses the operator {name}, {REFUSED_OPERATORS[name]}")
        elif field == _FUNCTION_FIELD:  # each may call another twice: 30 make 2^30 nodes
            raise self.fail("defines functions of its own, which can multiply without end")
        elif field == _METADATA_KEY_FIELD and self.data[value : value + size] == _RUNTIME_SETTINGS:
            raise self.fail("sets options of ONNX Runtime")

    def text(self, start: int, size: int) -> str:
        return self.data[start : start + min(size, 60)].decode("utf-8", "backslashreplace")

    def split(self, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield number, wire type, value and size of a message's fields.

        The value is the number of a varint, and otherwise where the field's bytes begin.
        """
        while position < end:
            self.fields += 1
            if self.fields > MAX_FIELDS:
                raise self.fail(f"more than {MAX_FIELDS:,} parts")
            start = position
            tag, position = self.varint(position, end)
            number, wire_type = tag >> 3, tag & 7
            if not 0 < number < 1 << 29:
                raise self.damaged(start)
            if wire_type == _VARINT:
                value, position = self.varint(position, end)
                yield number, wire_type, value, 0
                continue
            if wire_type == _BYTES:
                size, position = self.varint(position, end)
            elif wire_type in (_FIXED64, _FIXED32):
                size = 8 if wire_type == _FIXED64 else 4
            else:  # groups: not in ONNX
                raise self.damaged(start)
            if size > end - position:
                raise self.damaged(start)
            yield number, wire_type, position, size
            position += size

    def varint(self, position: int, end: int) -> tuple[int, int]:
        """Return a variable-length integer and the position after it."""
        value = shift = 0
        start = position
        while position < end and shift < 70:
            byte = self.data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
            shift += 7
        raise self.damaged(start)
