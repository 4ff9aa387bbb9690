from __future__ import annotations

from showtell.photos.metadata.iptc import MAX_CAPTION_BYTES, truncate_caption


def test_caption_is_truncated_for_iptc_at_a_word_boundary() -> None:
    assert truncate_caption("short") == "short"
    for text in ("été " * 800, "é" * 3000):
        cut = truncate_caption(text)
        assert len(cut.encode()) <= MAX_CAPTION_BYTES
        assert cut.endswith("…")
        assert text.startswith(cut.removesuffix("…"))
