"""Upper and lower case of words, learned from training captions.

Words are lower-cased in a vocabulary. A caption is written with the form that each word has most
often in captions, away from the start of a sentence, where every word may have a capital. Captions
come as people wrote them, some without capitals: only captions that look cased count.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise

_SENTENCE_END = re.compile(r"[.!?:\u2026]+(?:\s+|$)")
_MOSTLY_CAPITALS = 0.75  # a caption with a larger share of words with capitals is a title
_FEWEST = 3  # words that another form before a capital is learned from


@dataclass(frozen=True)
class Casing:
    """How words are written that are not in lower case.

    `forms` maps words to their written forms ("hund" to "Hund", "t-shirt" to "T-Shirt").
    `before_capital` has the forms that words have instead before a word with a capital ("junge" of
    "junge Frau", where it is else "Junge"). `sentence_capital` says that a caption begins with a
    capital.
    """

    forms: dict[str, str] = field(default_factory=dict, hash=False)
    before_capital: dict[str, str] = field(default_factory=dict, hash=False)
    sentence_capital: bool = False

    @property
    def words(self) -> set[str]:
        """The words that have a form."""
        return {*self.forms, *self.before_capital}

    def with_forms_of(self, other: Casing, words: Iterable[str]) -> Casing:
        """Return the casing with another one's forms of some words."""
        forms, before_capital = dict(self.forms), dict(self.before_capital)
        for word in words:
            if word in other.forms:
                forms[word] = other.forms[word]
            if word in other.before_capital:
                before_capital[word] = other.before_capital[word]
        return replace(self, forms=forms, before_capital=before_capital)

    def apply(self, words: Sequence[str], upper: Callable[[str], str] = str.upper) -> list[str]:
        """Return the written forms of a caption's lower-cased words."""
        forms = [self.forms.get(word, word) for word in words]
        for index, word in enumerate(words[:-1]):
            if word in self.before_capital and _has_capital(forms[index + 1]):
                forms[index] = self.before_capital[word]
        if self.sentence_capital and forms:
            forms[0] = upper(forms[0][0]) + forms[0][1:]
        return forms


def learn_casing(
    captions: Sequence[str],
    words: Iterable[str],
    split: Callable[[str], list[str]],
    lower: Callable[[str], str] = str.lower,
    *,
    capital_nouns: bool = False,
) -> Casing:
    """Learn the written forms of lower-cased `words` from captions.

    `split` returns the words of a text as they are written. With `capital_nouns`, only captions
    with a capital away from the start of a sentence count, else all captions with a capital.
    """
    known, lower = frozenset(words), cache(lower)
    sentences = list(_cased_sentences(captions, split, capital_nouns=capital_nouns))
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sentence in sentences:
        for form in sentence[1:]:
            counts[lower(form)][form] += 1
    forms = {word: _most_frequent(word, counts[word]) for word in counts if word in known}
    by_next: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sentence in sentences:
        for form, following in pairwise(sentence[1:]):
            if _has_capital(forms.get(lower(following), following)):
                by_next[lower(form)][form] += 1
    before_capital = {
        word: form
        for word, counted in sorted(by_next.items())
        if word in known and counted.total() >= _FEWEST
        if (form := _most_frequent(word, counted)) != forms[word]
    }
    return Casing(
        {word: form for word, form in sorted(forms.items()) if form != word},
        before_capital,
        _begins_with_capital(captions),
    )


def _cased_sentences(
    captions: Iterable[str], split: Callable[[str], list[str]], *, capital_nouns: bool
) -> Iterator[list[str]]:
    """Yield the words of each sentence of the captions that look cased."""
    for caption in captions:
        sentences = [words for text in _SENTENCE_END.split(caption) if (words := split(text))]
        inner = [word for words in sentences for word in words[1:]]
        capitals = sum(map(_has_capital, inner))
        begins = any(_has_capital(words[0]) for words in sentences)
        if capitals <= _MOSTLY_CAPITALS * len(inner) and (
            capitals or (begins and not capital_nouns)
        ):
            yield from sentences


def _begins_with_capital(captions: Sequence[str]) -> bool:
    first = [text[0] for caption in captions if (text := caption.lstrip())]
    return bool(first) and 2 * sum(letter.isupper() for letter in first) >= len(first)


def _has_capital(form: str) -> bool:
    return form != form.lower()


def _most_frequent(word: str, forms: Counter[str]) -> str:
    """Return a word's most frequent form; of two that are as frequent, the one in lower case."""
    return max(sorted(forms), key=lambda form: (forms[form], form == word))
