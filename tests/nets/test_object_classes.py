"""The table of object classes is complete, and its words are tokens of captions."""

from __future__ import annotations

from showtell.nets.object_classes import class_matrix, words_of_classes
from showtell.nets.word_detector import OBJECT_CLASSES
from showtell.vocabulary import tokenize


def test_every_class_of_imagenet_has_a_line() -> None:
    assert len(words_of_classes()) == OBJECT_CLASSES


def test_words_are_single_tokens_and_named_once_per_class() -> None:
    for words in words_of_classes():
        assert len(set(words)) == len(words)
        assert [tokenize(word) for word in words] == [[word] for word in words]


def test_breeds_are_dogs_and_an_espresso_is_coffee() -> None:
    words = words_of_classes()
    assert all(words[number] == ("dog",) for number in range(151, 269))
    assert "coffee" in words[967]


def test_the_matrix_marks_the_classes_of_a_word() -> None:
    matrix = class_matrix(["dog", "zorgle"])
    assert matrix.shape == (OBJECT_CLASSES, 2)
    assert matrix[151:269, 0].all()
    assert matrix[281, 0] == 0  # a tabby cat
    assert not matrix[:, 1].any()
