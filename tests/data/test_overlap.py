from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.data.overlap import (
    count_seen,
    expected_collisions,
    may_contain_flickr8k,
    merge_packed_names,
    more_than_chance,
    pack_names,
)
from showtell.errors import BundleError

names = st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=30)


@given(known=names, new=names)
def test_only_packed_names_are_counted(known: list[str], new: list[str]) -> None:
    assert count_seen(pack_names(known), new) == len(set(known) & set(new))


OF_FLICKR8K, OF_FLICKR30K = "1000268201_693b08cb0e.jpg", "1000268201.jpg"
OF_2014, OF_2017 = "COCO_val2014_000000391895.jpg", "000000391895.jpg"


@pytest.mark.parametrize(
    ("known", "scored"),
    [
        (OF_FLICKR30K, OF_FLICKR8K),
        (OF_FLICKR30K, "photos/1000268201_693b08cb0e_o.jpg"),
        (OF_FLICKR30K, "flickr30k-images/1000268201.jpg"),
        (OF_2014, OF_2017),
        (OF_2017, OF_2014),
        (OF_2014, "val2017/000000391895.jpg"),
        ("COCO_train2014_000000391895.jpg", OF_2014),
    ],
)
def test_a_photo_matches_under_its_name_in_other_datasets(known: str, scored: str) -> None:
    assert count_seen(pack_names([known]), [scored]) == 1


@pytest.mark.parametrize(
    ("known", "scored"),
    [
        (OF_FLICKR30K, "1000268202_693b08cb0e.jpg"),
        (OF_FLICKR30K, "1000268201_my_dog.jpg"),
        (OF_2014, "000000391896.jpg"),
        (OF_2014, "391895.jpg"),
        ("a/7.jpg", "b/7.jpg"),
        ("photo.jpg", "holiday/photo.jpg"),
    ],
)
def test_other_photos_do_not_match(known: str, scored: str) -> None:
    assert count_seen(pack_names([known]), [scored]) == 0


def test_the_number_of_matches_that_chance_explains_grows_with_the_known_photos() -> None:
    flickr8k = pack_names(f"{number}.jpg" for number in range(6000))
    names = [f"x{number}.jpg" for number in range(1000)]
    assert more_than_chance(flickr8k, names, 1)
    assert not more_than_chance(flickr8k, names, 0)
    coco = "A" * (113_287 * 4 * 4 // 3)
    names = [f"{number:012}.jpg" for number in range(5000)]
    # 113,287 known, three names each of 5,000: 0.4 are expected by chance.
    assert [more_than_chance(coco, names, seen) for seen in (1, 2, 3, 4, 5000)] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_photos_of_flickr30k_may_contain_training_photos_of_flickr8k() -> None:
    thirty = [f"{number}.jpg" for number in range(1000000, 1000010)]
    assert may_contain_flickr8k("Flickr8k", thirty)
    assert may_contain_flickr8k(
        "Flickr8k, Karpathy's splits", [f"images/{name}" for name in thirty]
    )
    assert not may_contain_flickr8k("your own", thirty)
    assert not may_contain_flickr8k("Flickr8k", [OF_FLICKR8K, "dog.jpg", "7.jpg"])
    assert not may_contain_flickr8k("Flickr8k", [])


def test_names_that_are_not_utf8_are_packed_too() -> None:
    assert count_seen(pack_names(["caf\udce9.jpg"]), ["caf\udce9.jpg", "cafe.jpg"]) == 1


def test_order_and_repetition_do_not_matter() -> None:
    assert pack_names(["b.jpg", "a.jpg", "a.jpg"]) == pack_names(["a.jpg", "b.jpg"])


@given(first=names, second=names)
def test_merged_names_are_those_of_all_lists(first: list[str], second: list[str]) -> None:
    merged = merge_packed_names([pack_names(first), "", pack_names(second)])
    assert merged == pack_names([*first, *second])


def test_flickr8ks_names_fit_a_manifest_and_collisions_are_rare() -> None:
    packed = pack_names(f"{number}.jpg" for number in range(6000))
    assert len(packed) <= 32_000
    assert expected_collisions(packed, 1000) == pytest.approx(6000 * 1000 / 2**32, rel=0.01)
    assert count_seen(packed, (f"other/{number}.jpg" for number in range(20_000))) <= 2


@pytest.mark.parametrize("packed", ["?", "abc", base64.b64encode(b"12345").decode(), "ä"])
def test_a_damaged_list_is_an_error(packed: str) -> None:
    with pytest.raises(BundleError, match="damaged"):
        count_seen(packed, ["a.jpg"])
