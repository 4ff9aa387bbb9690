from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.data.seen import count_seen, expected_by_chance, pack_names
from showtell.errors import BundleError

names = st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=30)


@given(known=names, new=names)
def test_packed_names_are_counted_and_no_others(known: list[str], new: list[str]) -> None:
    assert count_seen(pack_names(known), new) == len(set(known) & set(new))


def test_names_that_are_no_unicode_are_packed_too() -> None:
    assert count_seen(pack_names(["caf\udce9.jpg"]), ["caf\udce9.jpg", "cafe.jpg"]) == 1


def test_order_and_repetition_do_not_matter() -> None:
    assert pack_names(["b.jpg", "a.jpg", "a.jpg"]) == pack_names(["a.jpg", "b.jpg"])


def test_flickr8k_fits_a_manifest_and_chance_hits_are_rare() -> None:
    packed = pack_names(f"{number}.jpg" for number in range(6000))
    assert len(packed) <= 32_000
    assert expected_by_chance(packed, 1000) == pytest.approx(6000 * 1000 / 2**32, rel=0.01)
    assert count_seen(packed, (f"other/{number}.jpg" for number in range(20_000))) <= 2


@pytest.mark.parametrize("packed", ["?", "abc", base64.b64encode(b"12345").decode(), "ä"])
def test_damaged_marks_are_an_error(packed: str) -> None:
    with pytest.raises(BundleError, match="damaged"):
        count_seen(packed, ["a.jpg"])
