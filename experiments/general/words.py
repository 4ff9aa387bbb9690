"""The words: the vocabulary of the decoders, and the words that are detected in photos.

Input: the vocabulary of the shipped model `flickr8k`, Flickr30k's captions as text, the table of
ImageNet's classes (`showtell.nets.object_classes`).

Output: nothing; the other steps call `count_words`. Run alone, it prints the numbers of words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from places import SHIPPED_MODEL, Places, open_places, step_parser
from showtell.bundle import load_bundle
from showtell.bundle.registry import find_bundle
from showtell.nets.concepts import MAX_CONCEPTS
from showtell.nets.object_classes import words_of_classes
from showtell.vocabulary import FIRST_WORD, Vocabulary, tokenize

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

LEAST_COUNT = 20  # photos of Flickr30k whose captions contain a new word
# not detected: words without content, and those of any photo
_STOP_WORDS = """
a an the in on of with and to is are at by up from his her their its it through down while over
as for that another out near into front next behind one two three four five some other others
each onto around off her him them who be being has have there top side background together
holding this wearing several many very along under across above large small big looking getting
about them they he she 's not or between against towards toward having what all which both look
looks wears holds stands sits stand sit standing sitting during after before but where just like
else so no if
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
# things in COCO's photos that Flickr30k's captions rarely name; no class of ImageNet is theirs
_COCO_WORDS = """
giraffe giraffes zebras elephants sandwich donuts donut broccoli skateboarder snowboarder
surfboards toilets runway tarmac airport scissors vase microwave refrigerator frisbees kites
bears
"""
COCO_WORDS = _COCO_WORDS.split()


@dataclass(frozen=True)
class Words:
    """The words by their origin.

    `shipped` and `vocabulary` are the vocabularies before and after, `caption_words` the concepts
    of the shipped model's head, `object_words` those that classes stand for, in alphabetical order.
    """

    shipped: Vocabulary
    vocabulary: Vocabulary
    caption_words: tuple[str, ...]
    object_words: tuple[str, ...]

    @cached_property
    def concepts(self) -> tuple[str, ...]:
        """The detected words: caption words with content, then further object words."""
        known = set(self.caption_words)
        content = [word for word in self.caption_words if word not in STOP_WORDS]
        return (*content, *(word for word in self.object_words if word not in known))

    @cached_property
    def concept_ids(self) -> Integers:
        """Each concept's id in the vocabulary."""
        return np.array([ids_of(self.vocabulary)[word] for word in self.concepts])

    @cached_property
    def caption_columns(self) -> Integers:
        """The concepts that are caption words: columns of arrays [photos, concepts]."""
        known = set(self.caption_words)
        return np.array([i for i, word in enumerate(self.concepts) if word in known])

    @cached_property
    def object_columns(self) -> Integers:
        """The concept of each object word."""
        column = {word: i for i, word in enumerate(self.concepts)}
        return np.array([column[word] for word in self.object_words])

    @cached_property
    def content_words(self) -> tuple[str, ...]:
        """The concepts of the second head: caption words with content."""
        return tuple(self.concepts[i] for i in self.caption_columns)

    @cached_property
    def content_is_object(self) -> NDArray[np.bool_]:
        """Which of the content words are object words, too."""
        objects = set(self.object_words)
        return np.array([word in objects for word in self.content_words])

    @cached_property
    def content_object(self) -> Integers:
        """The object word of each content word; 0 where it is none."""
        place = {word: i for i, word in enumerate(self.object_words)}
        return np.array([place.get(word, 0) for word in self.content_words])


def ids_of(vocabulary: Vocabulary) -> dict[str, int]:
    """Return each word's id."""
    return {word: index for index, word in enumerate(vocabulary.words)}


def count_words(places: Places) -> Words:
    """Return the words; new ones are at least 20 times in Flickr30k's text, or in the table."""
    shipped = load_bundle(find_bundle(SHIPPED_MODEL)).vocabulary
    objects = sorted({word for words in words_of_classes() for word in words})
    captions = (caption for texts in places.texts() for caption in texts)
    counts = Counter(word for caption in captions for word in set(tokenize(caption)))
    frequent = (w for w, n in counts.items() if n >= LEAST_COUNT and w not in shipped)
    new = sorted(frequent, key=lambda word: (-counts[word], word))
    words = dict.fromkeys([*shipped.words, *new, *objects, *COCO_WORDS])  # each word once
    caption_words = shipped.words[FIRST_WORD : FIRST_WORD + MAX_CONCEPTS]
    return Words(shipped, Vocabulary(tuple(words)), caption_words, tuple(objects))


def caption_shares(captions: Sequence[Sequence[str]], words: Sequence[str]) -> Floats:
    """Return the share of each photo's captions that contain each word, [photos, words]."""
    column = {word: i for i, word in enumerate(words)}
    shares = np.zeros((len(captions), len(words)), np.float32)
    for row, texts in enumerate(captions):
        for text in texts:
            for word in set(tokenize(text)):
                if word in column:
                    shares[row, column[word]] += 1 / len(texts)
    return shares


def split_shares(places: Places, split: str, words: Words) -> Floats:
    """Return the shares of Flickr8k's photos of a split, [photos, concepts]."""
    captions = [photo.captions for photo in places.flickr8k.split(split)]
    return caption_shares(captions, words.concepts)


if __name__ == "__main__":
    counted = count_words(open_places(step_parser(__doc__).parse_args()))
    print(len(counted.vocabulary), len(counted.concepts), len(counted.caption_words))
