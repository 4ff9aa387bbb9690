from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from showtell.files.printable_names import printable, printable_text


def test_printable_keeps_ordinary_names() -> None:
    for name in ("dog.jpg", "été 2024/Ōsaka 犬.jpg", "back\\slash.jpg"):
        assert printable(name) == name


def test_printable_escapes_what_would_break_a_line_or_a_terminal() -> None:
    assert printable(b"a\nb\xff\x1b[0m\x00.jpg") == r"a\nb\xff\x1b[0m\x00.jpg"
    assert printable("\u202ereversed") == r"\u202ereversed"


@given(st.binary(max_size=30))
def test_printable_is_one_line_that_utf8_can_write(name: bytes) -> None:
    text = printable(name)
    assert text.isprintable()
    text.encode("utf-8")


def test_text_keeps_its_lines_and_shows_what_would_steer_a_terminal() -> None:
    text = "# Title\n\n\tcode\r\n\x1b[2Jgone\x9b\u202e\u2066x\ry\n"
    assert printable_text(text) == ("# Title\n\n\tcode\n\\x1b[2Jgone\\x9b\\u202e\\u2066x\\ry\n")
    assert (
        printable_text("Gr\u00fc\u00dfe: \u72ac \U0001f415\n")
        == "Gr\u00fc\u00dfe: \u72ac \U0001f415\n"
    )
