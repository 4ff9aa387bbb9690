"""Forms in memory: whole, cut off, with empty file inputs, in chunks of any size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.server.photo_form import PhotoForm
from showtell.server.problem_details import ProblemError
from support.paths import ROOT

FORM_WITHOUT_END = ROOT.parent / "shared" / "cases" / "http" / "form_without_end.bin"


def part(content: bytes, disposition: str = 'name="photos"; filename="a.jpg"') -> bytes:
    head = f"--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
    return head.encode() + content + b"\r\n"


def form_of(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


def parse(data: bytes, chunk_size: int = 1 << 16, max_photos: int = 3) -> PhotoForm:
    form = PhotoForm(b"b", max_photos)
    for start in range(0, len(data), chunk_size):
        form.write(data[start : start + chunk_size])
    form.finish()
    return form


def refusal(data: bytes) -> ProblemError:
    with pytest.raises(ProblemError) as raised:
        parse(data)
    return raised.value


@given(
    photos=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=3),
    chunk_size=st.integers(1, 60),
)
def test_photos_are_read_in_chunks_of_any_size(photos: list[bytes], chunk_size: int) -> None:
    photos = [photo.replace(b"--b", b"b--") for photo in photos]
    form = parse(form_of(*map(part, photos)), chunk_size)
    assert form.photos == photos
    assert form.names == ["a.jpg"] * len(photos)


def test_form_that_is_cut_off_anywhere_is_refused() -> None:
    whole = form_of(part(b"first photo"), part(b"second"))
    complete = len(whole) - len(b"\r\n")
    for length in range(complete):
        assert refusal(whole[:length]).status == 400, whole[:length]
    assert len(parse(whole[:complete]).photos) == 2


@pytest.mark.skipif(not FORM_WITHOUT_END.exists(), reason="needs ../shared")
def test_recorded_form_without_its_closing_boundary_is_refused() -> None:
    form = PhotoForm(b"XbX", 32)
    form.write(FORM_WITHOUT_END.read_bytes())
    with pytest.raises(ProblemError, match="closing boundary"):
        form.finish()


def test_file_input_without_a_chosen_file_is_left_out() -> None:
    unused = part(b"", 'name="photos"; filename=""')
    form = parse(form_of(unused, part(b"photo"), unused))
    assert (form.photos, form.names) == ([b"photo"], ["a.jpg"])
    assert refusal(form_of(unused)).kind == "no-photos"


def test_empty_file_and_photo_without_a_name_are_kept() -> None:
    form = parse(form_of(part(b""), part(b"photo", 'name="photos"; filename=""')))
    assert (form.photos, form.names) == ([b"", b"photo"], ["a.jpg", None])


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        (form_of(), "no-photos"),
        (form_of(part(b"x", 'filename="a.jpg"')), "damaged-form"),
        (form_of(part(b"x", 'name="photos"')), "wrong-field"),
        (form_of(part(b"x", 'name="photo"; filename="a.jpg"')), "wrong-field"),
        (form_of(*[part(b"x")] * 4), "too-many-photos"),
        (form_of(*[part(b"", 'name="photos"; filename=""')] * 99), "too-many-photos"),
        (form_of(part(b"x", f'name="photos"; filename="{"x" * 9000}"')), "damaged-form"),
        (b"no form at all", "damaged-form"),
    ],
)
def test_other_forms_are_refused(form: bytes, kind: str) -> None:
    assert refusal(form).kind == kind


def test_boundary_that_is_too_long_is_refused() -> None:
    with pytest.raises(ProblemError):
        PhotoForm(b"b" * 5000, 3)
