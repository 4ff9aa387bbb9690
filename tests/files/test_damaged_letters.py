from __future__ import annotations

import pytest

from showtell.files.damaged_letters import is_lossy_copy, is_misread

RIGHT = [
    "München",
    "„Spaß“ am See",
    "Spaß…",
    "É…",
    "«ÜBER»",
    "Ærø",
    "Нева",
    "a dog",
    "日本",
    "Ñ",
    "",
]


@pytest.mark.parametrize("text", RIGHT)
def test_right_letters_are_not_misread(text: str) -> None:
    assert not is_misread(text)


@pytest.mark.parametrize("text", ["München", "„auf Eis“", "Нева", "日本", "Łódź Á 😀"])
@pytest.mark.parametrize("encoding", ["cp1252", "mac_roman"])
def test_utf8_read_in_the_encoding_of_a_spreadsheet_is_recognised(text: str, encoding: str) -> None:
    # Windows reads the bytes that cp1252 does not define as control characters
    letters = [bytes([byte]) for byte in text.encode()]
    undefined = b"\x81\x8d\x8f\x90\x9d" if encoding == "cp1252" else b""
    misread = "".join(
        letter.decode("latin-1" if letter in undefined else encoding) for letter in letters
    )
    assert is_misread(misread)


def test_letters_that_were_replaced_are_recognised_beside_the_original() -> None:
    assert is_lossy_copy("M?nchen", "München")
    assert is_lossy_copy("M\ufffdnchen", "München")
    assert is_lossy_copy("???? am Fluß", "Нева am Fluß")
    for text in ("Mönchen", "Munchen", "München", "M?nster"):
        assert not is_lossy_copy(text, "München")
