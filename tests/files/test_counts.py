from __future__ import annotations

from showtell.files.counts import count_of


def test_noun_is_singular_for_one_only() -> None:
    assert [count_of(count, "photo") for count in (0, 1, 2, 1000)] == [
        "0 photos",
        "1 photo",
        "2 photos",
        "1,000 photos",
    ]
