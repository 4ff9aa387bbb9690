"""File names as text that any terminal can show."""

from __future__ import annotations

import os


def printable(name: str | bytes) -> str:
    r"""Return a file name on one line of printable characters.

    A newline becomes `\n`, a byte that is not UTF-8 becomes `\xff`.
    """
    text = os.fsdecode(name)
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable()
        else f"\\x{ord(character) - 0xDC00:02x}"
        if "\udc80" <= character <= "\udcff"
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
