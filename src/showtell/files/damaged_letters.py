"""Recognise text whose letters a program has damaged with a wrong encoding."""

from __future__ import annotations

import re

# of spreadsheets on Windows and macOS, for a file that does not say that it is UTF-8
_SPREADSHEET_ENCODINGS = ("cp1252", "mac_roman")
_LAST_CONTROL = "\x9f"  # cp1252 leaves bytes undefined, which Windows reads as these characters
# Latin, Greek and Cyrillic letters, punctuation and what UTF-8 takes three bytes for; other
# letters come from words such as "Spaß…", whose last two letters in cp1252 happen to be UTF-8
_COMMON_LETTERS = re.compile(r"[\x00-\x7f\xa0-ſΑ-ωЀ-џ\u2000-\u20af\u3000-\U0010ffff]*")


def is_misread(text: str) -> bool:
    """Return whether text is UTF-8 that was read in another encoding, such as `Ã¼` for `ü`."""
    return not text.isascii() and any(
        _COMMON_LETTERS.fullmatch(original) is not None
        for original in (_as_utf8(text, encoding) for encoding in _SPREADSHEET_ENCODINGS)
        if original is not None
    )


def is_lossy_copy(text: str, original: str) -> bool:
    """Return whether text is the original with `?` or `\ufffd` for the letters that were lost."""
    if text == original:
        return False
    encodings = ("ascii", *_SPREADSHEET_ENCODINGS)
    copies = {original.encode(encoding, "replace").decode(encoding) for encoding in encodings}
    return re.sub("\ufffd+", "?", text) in {re.sub("[?]+", "?", copy) for copy in copies} | copies


def _as_utf8(text: str, encoding: str) -> str | None:
    try:
        return b"".join(
            letter.encode("latin-1" if letter <= _LAST_CONTROL else encoding) for letter in text
        ).decode()
    except UnicodeError:
        return None
