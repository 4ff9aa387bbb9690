"""File names of uploads, as browsers and other clients send them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.server.file_names import Disposition, parse_disposition


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ('filename="dog.jpg"', "dog.jpg"),
        ("filename=dog.jpg", "dog.jpg"),
        ('FileName = "dog.jpg"', "dog.jpg"),
        ('filename="a;b=c.jpg"', "a;b=c.jpg"),
        ('filename="größe 1.jpg"', "größe 1.jpg"),
        ('filename="😀.jpg"', "😀.jpg"),
        ('filename="%22quoted%22.jpg"', '"quoted".jpg'),
        ('filename="100%25.jpg"', "100%25.jpg"),
        (r'filename="\"quoted\".jpg"', '"quoted".jpg'),
        (r'filename="C:\holiday\dog.jpg"', "dog.jpg"),
        (r'filename="C:\\holiday\\dog.jpg"', "dog.jpg"),
        (r'filename="C:\fakepath\new.jpg"', "new.jpg"),
        ('filename="/home/me/dog.jpg"', "dog.jpg"),
        ('filename="../../dog.jpg"', "dog.jpg"),
        ("filename*=UTF-8''gr%C3%B6%C3%9Fe.jpg", "größe.jpg"),
        ("filename*=utf-8'de'gr%c3%b6%c3%9fe.jpg", "größe.jpg"),
        ("filename*=\"UTF-8''gr%C3%B6%C3%9Fe.jpg\"", "größe.jpg"),
        ("filename*=iso-8859-1''gr%F6%DFe.jpg", "größe.jpg"),
        ("filename=\"gro.jpg\"; filename*=UTF-8''gr%C3%B6.jpg", "grö.jpg"),
        ("filename*=UTF-8''gr%C3%B6.jpg; filename=\"gro.jpg\"", "grö.jpg"),
        ("filename*=UTF-8''..%2F..%2Fdog.jpg", "dog.jpg"),
        ("filename*=utf-7''+AGE-.jpg; filename=\"plain.jpg\"", "plain.jpg"),
        ("filename*=UTF-8''%FF.jpg; filename=\"plain.jpg\"", "plain.jpg"),
        ('filename*=nothing; filename="plain.jpg"', "plain.jpg"),
        ("filename*=base64''ZG9n", ""),
        ("filename*0*=UTF-8''gr%C3%B6; filename*1*=%C3%9F; filename*2=\"e.jpg\"", "größe.jpg"),
        ('filename*0="a long "; filename*1="name.jpg"', "a long name.jpg"),
        ('filename="=?utf-8?B?Z3LDtsOfZS5qcGc=?="', "größe.jpg"),
        ('filename="=?UTF-8?Q?gr=C3=B6=C3=9Fe_1.jpg?="', "größe 1.jpg"),
        ('filename="=?iso-8859-1?q?gr=F6=DFe.jpg?="', "größe.jpg"),
        ('filename="=?idna?b?AAAA?="', "=?idna?b?AAAA?="),
        ('filename="=?utf-8?b?A?="', "=?utf-8?b?A?="),
        ('filename=""', ""),
        ("filename=", ""),
        (f'filename="{"x" * 300}.jpg"', "x" * 255),
    ],
)
def test_name_is_what_the_client_means(parameters: str, name: str) -> None:
    header = f'form-data; name="photos"; {parameters}'.encode()
    assert parse_disposition(header) == Disposition("photos", name)


def test_name_in_latin_1_is_read() -> None:
    header = 'form-data; name="photos"; filename="größe.jpg"'.encode("latin-1")
    assert parse_disposition(header).file_name == "größe.jpg"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"", Disposition(None, None)),
        (b"form-data", Disposition(None, None)),
        (b'form-data; name="photos"', Disposition("photos", None)),
        (b"form-data;name=photos;filename=a", Disposition("photos", "a")),
        (b'form-data; name="photos"; name="other"', Disposition("photos", None)),
        (b'form-data; filename="a; name=photos"', Disposition(None, "a; name=photos")),
    ],
)
def test_field_is_read(header: bytes, expected: Disposition) -> None:
    assert parse_disposition(header) == expected


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_name_that_a_browser_encodes_comes_back(name: str) -> None:
    encoded = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    header = f'form-data; name="photos"; filename="{encoded}"'.encode()
    found = parse_disposition(header).file_name
    if not any(text in name for text in ("%22", "%0D", "%0A", "=?", "\\")):
        assert found == name.rpartition("/")[2]


@given(st.binary(max_size=300))
def test_any_header_is_read(tail: bytes) -> None:
    for start in (b"", b"form-data; filename=", b"form-data; filename*=", b'x; filename*0*="'):
        parse_disposition(start + tail)
