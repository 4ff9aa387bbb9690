from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.alt.document import decode_document, read_document
from showtell.errors import DocumentError

PATH = Path("page.html")


@given(st.binary(max_size=60).filter(lambda data: b"\0" not in data[:60]))
def test_any_bytes_come_back(data: bytes) -> None:
    assert decode_document(PATH, data).data == data


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        ("é\r\n".encode(), "é\r\n", "utf-8"),
        (b"\xef\xbb\xbfx\xc3\xa9", "xé", "utf-8"),
        (b'<meta charset="latin-1">\xe9', '<meta charset="latin-1">é', "iso8859-1"),
        (
            b"<meta http-equiv=Content-Type content='text/html; charset=windows-1252'>\x80",
            "<meta http-equiv=Content-Type content='text/html; charset=windows-1252'>€",
            "cp1252",
        ),
        ("\ufeffaé".encode("utf-16-le"), "aé", "utf-16-le"),
        (b"<meta charset=unknown-8>\xe9", "<meta charset=unknown-8>\udce9", "utf-8"),
    ],
)
def test_the_encoding_is_that_of_the_mark_or_the_markup(
    data: bytes, text: str, encoding: str
) -> None:
    document = decode_document(PATH, data)
    assert (document.text, document.encoding) == (text, encoding)
    assert document.data == data


def test_lines_and_columns_count_from_one_with_any_line_end() -> None:
    document = decode_document(PATH, "a\r\nébc\rd\n".encode())
    assert [document.line_and_column(position) for position in (0, 3, 5, 7)] == [
        (1, 1),
        (2, 1),
        (2, 3),
        (3, 1),
    ]


def test_a_character_that_the_encoding_lacks_is_named() -> None:
    document = decode_document(PATH, b"<meta charset=ascii>\xe9".replace(b"\xe9", b""))
    latin = decode_document(PATH, b"<meta charset=latin-1>\xe9")
    assert document.encoding == "utf-8"
    with pytest.raises(DocumentError, match=r"page.html: iso8859-1 has no '€'"):
        latin.encoded("€")


def test_binary_and_missing_files_are_named(tmp_path: Path) -> None:
    binary = tmp_path / "page.html"
    binary.write_bytes(b"GIF\0\0")
    with pytest.raises(DocumentError, match=r"page.html: a binary file"):
        read_document(binary)
    with pytest.raises(DocumentError, match=r"gone.html: cannot be read \(no such file"):
        read_document(tmp_path / "gone.html")
