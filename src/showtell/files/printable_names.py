"""File names and foreign texts as text that any terminal can show."""

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


def printable_text(text: str) -> str:
    r"""Return a text of several lines with its control characters made visible.

    Escape sequences of terminals and characters that turn the direction of text around become
    `\x1b` and `\u202e`; line breaks and tabs stay.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(printable(part) for part in line.split("\t")) for line in lines)
