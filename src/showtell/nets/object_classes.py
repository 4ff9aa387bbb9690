"""ImageNet's 1,000 classes, and the words that people say for them.

`object_words.csv` beside this module has a line per class: its number, its name in ImageNet (from
WordNet) and the words, reviewed by hand. 118 breeds are "dog", an espresso is "coffee" and "cup".
Words stand for what photos of a class show, so "shower curtain" also is "bathroom". Classes
without a word that people say in captions, as "face powder", have none.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

_TABLE = "object_words.csv"


def words_of_classes() -> tuple[tuple[str, ...], ...]:
    """Return the words of each class, in ImageNet's order."""
    text = files("showtell.nets").joinpath(_TABLE).read_text("utf-8")
    return tuple(tuple(row["words"].split()) for row in csv.DictReader(text.splitlines()))


def class_matrix(words: Sequence[str]) -> NDArray[np.float32]:
    """Return which of `words` each class stands for: 1 or 0, [classes, words]."""
    columns = {word: column for column, word in enumerate(words)}
    of_classes = words_of_classes()
    matrix = np.zeros((len(of_classes), len(words)), np.float32)
    for row, class_words in enumerate(of_classes):
        matrix[row, [columns[word] for word in class_words if word in columns]] = 1
    return matrix
