"""Replace byte ranges of a file, and follow where its other bytes go."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class FileEdits:
    """Replacements of byte ranges of `data`, which must not overlap."""

    data: bytes
    edits: list[tuple[int, int, bytes]] = field(default_factory=list)  # start, end, new bytes

    def replace(self, start: int, end: int, new: bytes) -> None:
        """Replace the bytes `start` to `end`; those inserted at one position keep their order."""
        self.edits.append((start, end, new))

    def new_position(self, position: int) -> int:
        """Return where the byte at `position` is afterwards, if it is not replaced itself."""
        return position + sum(
            len(new) - (end - start) for start, end, new in self.edits if end <= position
        )

    def result(self) -> bytes:
        """Return the bytes with all replacements."""
        pieces, position = [], 0
        for start, end, new in sorted(self.edits, key=lambda edit: edit[:2]):
            pieces += [self.data[position:start], new]
            position = end
        return b"".join([*pieces, self.data[position:]])
