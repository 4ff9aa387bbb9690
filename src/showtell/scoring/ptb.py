"""The PTB tokenizer of coco-caption, run from the jar of pycocoevalcap.

pycocoevalcap's own wrapper writes into site-packages, which may be read-only, and a caption with an
unusual line separator shifts all captions after it. The tokens here are the same (tested).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from showtell.scoring import ScoringError
from showtell.scoring.java import run_java

# The tokens that pycocoevalcap/tokenizer/ptbtokenizer.py drops.
_QUOTES = ("''", "'", "``", "`")
_BRACKETS = ("-LRB-", "-RRB-", "-LCB-", "-RCB-")
PUNCTUATION = frozenset([*_QUOTES, *_BRACKETS, ".", "?", "!", ",", ":", "-", "--", "...", ";"])
# All characters that end a line in Python or Java, and the zero byte.
_SEPARATORS = re.compile("[\0\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_LAST_LINE = "showtell-last-line"


def one_line(caption: str) -> str:
    """Return the caption with a space in place of each line separator."""
    return _SEPARATORS.sub(" ", caption)


def ptb_tokenize(captions: Sequence[str], java: Path, package: Path) -> list[str]:
    """Tokenise captions as coco-caption does: words joined by spaces, without punctuation.

    `package` is the folder of pycocoevalcap. Raises ScoringError if the tokenizer fails.
    """
    jar = package / "tokenizer" / "stanford-corenlp-3.4.1.jar"
    arguments: list[str | Path] = ["-cp", jar, "edu.stanford.nlp.process.PTBTokenizer"]
    arguments += ["-preserveLines", "-lowerCase"]
    # The last line proves that every caption is on a line of its own.
    text = "\n".join([*map(one_line, captions), _LAST_LINE])
    lines = run_java(java, arguments, text, "the PTB tokenizer").split("\n")
    if lines[len(captions) :] not in ([_LAST_LINE], [_LAST_LINE, ""]):
        raise ScoringError(
            f"the PTB tokenizer returned {len(lines) - 2} lines for {len(captions)} captions"
        )
    return [_without_punctuation(line) for line in lines[: len(captions)]]


def _without_punctuation(line: str) -> str:
    return " ".join(word for word in line.rstrip().split(" ") if word not in PUNCTUATION)
