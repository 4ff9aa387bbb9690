"""Prepare caption texts for storage and for the full-text index."""

from __future__ import annotations

import re

# Thai, Lao, Burmese, Khmer, kana and CJK ideographs are written without spaces between words.
_UNSPACED_SCRIPTS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003134f]"
)
_FORBIDDEN_CHARACTERS = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")


def clean_text(text: str) -> str:
    """Remove characters that XML, IPTC or SQLite cannot store, and outer white space."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _FORBIDDEN_CHARACTERS.sub("", text).strip()


def segment_cjk(text: str) -> str:
    """Put spaces around each letter of scripts without spaces, so that each is a word to FTS5."""
    return _UNSPACED_SCRIPTS.sub(r" \g<0> ", text)
