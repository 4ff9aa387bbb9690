"""Beam search and diverse beam search over any decoder, batched over photos (numpy only).

Photos do not influence each other: a photo gets the same captions alone and in a batch, as far as
the decoder's own arithmetic is the same.

The score of a hypothesis is its log-probability divided by its number of tokens (END included) to
the power of `length_penalty` (Wu et al., "Google's Neural Machine Translation System", 2016,
simplified).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from showtell.vocabulary import END, FIRST_WORD, START

__all__ = [
    "Arrays",
    "Decoder",
    "Floats",
    "Hypothesis",
    "Integers",
    "beam_search",
    "diverse_beam_search",
]

Arrays = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

_BLOCK = 64  # words per block in `best_words`
_IMPOSSIBLE = -np.inf  # the log-probability of a hypothesis that does not exist


class Decoder(Protocol):
    """A network that predicts the next word of a caption; ONNX, PyTorch or a table in a test.

    *Memory* holds arrays that stay the same while a caption is written, with one row per photo.
    *State* holds arrays that change, with one row per hypothesis. Rows are grouped by photo: with
    `width` hypotheses per photo, row r belongs to photo r // width, and `step` computes width as
    rows // photos.
    """

    def init_state(self, features: Arrays) -> tuple[Arrays, Arrays]:
        """Return memory and first state of photos; `features` have one row per photo."""
        ...

    def step(
        self, tokens: Integers, memory: Arrays, state: Arrays
    ) -> tuple[Floats, Floats | None, Arrays]:
        """Read one token per row: int64 [rows].

        Returns log-probabilities [rows, words], attention [rows, regions] or None, and the next
        state.
        """
        ...


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One caption as token ids, without END.

    `log_probability` includes that of END if the hypothesis has `finished`.
    `word_log_probabilities` has one value per token, `attention` is [tokens, regions] or None.
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float
    word_log_probabilities: tuple[float, ...]
    attention: Floats | None = field(repr=False, compare=False)
    finished: bool


def beam_search(
    decoder: Decoder,
    features: Arrays,
    *,
    beam: int = 3,
    length_penalty: float = 1.0,
    max_length: int = 24,
    nbest: int = 1,
    no_repeat_ngram: int = 0,
) -> list[list[Hypothesis]]:
    """Return each photo's `nbest` captions, best first; `beam=1` is greedy search.

    Every step keeps the `beam` best unfinished hypotheses. A hypothesis finishes when its END is
    among the `beam` best candidates. The search of a photo stops when `beam` hypotheses have
    finished, or `nbest` have and no other can beat them, or after `max_length` tokens (END
    included); if too few have finished, the best unfinished ones follow. PAD, START and UNKNOWN
    are never emitted, and no caption is empty. Equal candidates are sorted by hypothesis, then by
    token id. `no_repeat_ngram=n` allows no n-gram twice and no word twice in a row.

    `features` have one row per photo. A photo's list is empty only if the decoder gives no word
    any probability (NaN or -inf). Raises ValueError where an option is out of range.
    """
    options = _Options(beam, 1, 0.0, length_penalty, max_length, nbest, no_repeat_ngram)
    return _Search(decoder, features, options).run()


def diverse_beam_search(
    decoder: Decoder,
    features: Arrays,
    *,
    beam: int = 3,
    groups: int | None = None,
    diversity: float = 0.5,
    length_penalty: float = 1.0,
    max_length: int = 24,
    nbest: int = 1,
    no_repeat_ngram: int = 0,
) -> list[list[Hypothesis]]:
    """Return captions that differ from each other, sorted by score as in `beam_search`.

    The beam is divided into `groups` (by default one hypothesis each). A word costs a group
    `diversity` for each time that an earlier group has chosen it in the same step.
    Log-probabilities and scores do not include that cost. Vijayakumar et al., "Diverse Beam
    Search", 2018.

    Raises ValueError where an option is out of range or `groups` does not divide `beam`.
    """
    groups = beam if groups is None else groups
    options = _Options(beam, groups, diversity, length_penalty, max_length, nbest, no_repeat_ngram)
    return _Search(decoder, features, options).run()


def take_rows(arrays: Arrays, rows: Integers) -> dict[str, NDArray[Any]]:
    """Return these rows of every array."""
    return {name: np.take(array, rows, axis=0) for name, array in arrays.items()}


def count_photos(features: Arrays) -> int:
    """Return the number of photos: rows of each feature."""
    return len(next(iter(features.values())))


@dataclass(frozen=True)
class _Options:
    beam: int
    groups: int
    diversity: float
    length_penalty: float
    max_length: int
    nbest: int
    no_repeat_ngram: int

    def __post_init__(self) -> None:
        for name, least in (("beam", 1), ("max_length", 1), ("no_repeat_ngram", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: must be at least {least}, not {getattr(self, name)}")
        for name in ("length_penalty", "diversity"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: must be at least 0, not {getattr(self, name)}")
        if self.groups < 1 or self.beam % self.groups:
            raise ValueError(f"groups: {self.groups} does not divide beam={self.beam}")
        if not 1 <= self.nbest <= self.beam:
            raise ValueError(f"nbest: {self.nbest} is not between 1 and beam={self.beam}")

    @property
    def group_size(self) -> int:
        return self.beam // self.groups

    def score(self, log_probability: float, tokens: int) -> float:
        return log_probability / float(tokens**self.length_penalty)


@dataclass(frozen=True, slots=True)
class _Ended:
    """A finished hypothesis: it ended after the word at (`step`, `slot`) of its photo."""

    score: float
    log_probability: float
    step: int
    slot: int


@dataclass
class _Live:
    """The unfinished hypotheses of the photos that are still searched (`width` per photo)."""

    photos: Integers  # (photos,): index of each photo in the batch
    totals: NDArray[np.float64]  # (photos, width): log-probability so far
    tokens: Integers  # (photos, width): last token
    past: Integers  # (photos, width, tokens so far): only filled for no_repeat_ngram

    @classmethod
    def start(cls, photos: int) -> _Live:
        return cls(
            photos=np.arange(photos),
            totals=np.zeros((photos, 1)),
            tokens=np.full((photos, 1), START),
            past=np.zeros((photos, 1, 0), np.int64),
        )


@dataclass(frozen=True)
class _Chosen:
    """The hypotheses chosen in one step; all arrays are (photos, beam)."""

    parents: Integers  # hypothesis of the step before that each one extends
    tokens: Integers
    log_probabilities: Floats  # of the token
    totals: NDArray[np.float64]  # log-probability of the whole hypothesis


class _Search:
    """One search over a batch of photos; the past of all hypotheses is kept as back-pointers."""

    def __init__(self, decoder: Decoder, features: Arrays, options: _Options) -> None:
        self.decoder, self.features, self.options = decoder, features, options
        photos = count_photos(features) if features else 0
        shape = (options.max_length, photos, options.beam)
        self.parents = np.zeros(shape, np.int64)
        self.tokens = np.zeros(shape, np.int64)
        self.word_log_probabilities = np.zeros(shape, np.float32)
        self.attention: Floats | None = None  # (step, photo, beam, regions)
        self.ended: list[list[_Ended]] = [[] for _ in range(photos)]
        self.ended_in_group = np.zeros((photos, options.groups), np.int64)
        # of each photo: the last step and the totals of its hypotheses at that step
        self.last: list[tuple[int, NDArray[np.float64]]] = [(-1, np.zeros(0))] * photos

    def run(self) -> list[list[Hypothesis]]:
        photos = len(self.ended)
        if not photos:
            return []
        memory, state = self.decoder.init_state(self.features)
        live = _Live.start(photos)
        for step in range(self.options.max_length):
            width = live.totals.shape[1]
            log_probabilities, attention, state = self.decoder.step(
                live.tokens.ravel(), memory, state
            )
            table = log_probabilities.reshape(len(live.photos), width, -1)  # (photos, width, words)
            chosen = self._choose(step, live, table)
            rows = np.arange(len(live.photos))[:, None] * width + chosen.parents  # (photos, beam)
            self._record(step, live.photos, chosen, attention, rows)
            done = self._done(step, live.photos, chosen.totals)
            if done.all():
                break
            chosen.totals[done] = _IMPOSSIBLE
            kept = np.arange(len(done))
            if done.sum() * 4 >= len(done):  # copying memory for fewer costs more than it saves
                kept = np.flatnonzero(~done)
                memory, rows = take_rows(memory, kept), rows[kept]
            state = take_rows(state, rows.ravel())
            live = self._advance(live, chosen, kept)
        return [self._best(photo) for photo in range(photos)]

    def _advance(self, live: _Live, chosen: _Chosen, kept: Integers) -> _Live:
        """Return the chosen hypotheses of the `kept` photos as the live ones of the next step."""
        tokens, past = chosen.tokens[kept], live.past[kept]
        if self.options.no_repeat_ngram:
            past = np.take_along_axis(past, chosen.parents[kept][..., None], axis=1)
            past = np.concatenate([past, tokens[..., None]], axis=2)
        return _Live(live.photos[kept], chosen.totals[kept], tokens, past)

    def _choose(self, step: int, live: _Live, table: Floats) -> _Chosen:
        """Choose each photo's next hypotheses, group by group, and note those that end.

        `table` is (photos, width, words).
        """
        size = self.options.group_size
        ends = table[:, :, END]
        words = table[:, :, FIRST_WORD:]
        if self.options.no_repeat_ngram:
            words = _without_repeats(words, live.past, self.options.no_repeat_ngram)
        shape = (len(live.photos), self.options.beam)
        parents, best = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        dead = np.zeros(shape, np.bool_)
        for group in range(self.options.groups):
            slots = slice(group * size, (group + 1) * size)
            rows = slots if step else slice(0, 1)  # at the first step all groups share one row
            offered = self._penalised(words[:, rows], best[:, : slots.start])
            scores, group_parents, best[:, slots] = best_words(live.totals[:, rows], offered, size)
            # a slot without a candidate has an arbitrary parent and word: it stays dead
            empty = scores == _IMPOSSIBLE
            parents[:, slots] = np.where(empty, 0, group_parents) + rows.start
            if step:
                self._note_ends(step, live, ends, scores, parents, group)
            full = self.ended_in_group[live.photos, group] >= size
            dead[:, slots] = empty | full[:, None]
        photo = np.arange(len(live.photos))[:, None]
        gained = words[photo, parents, best]
        totals = np.where(dead, _IMPOSSIBLE, live.totals[photo, parents] + gained)
        return _Chosen(parents, best + FIRST_WORD, gained, totals)

    def _penalised(self, words: Floats, chosen_before: Integers) -> Floats:
        """Subtract the cost of words (photos, n) that earlier groups have chosen."""
        if not self.options.diversity or not chosen_before.shape[1]:
            return words
        words = words.copy()
        for column in range(chosen_before.shape[1]):
            words[np.arange(len(words)), :, chosen_before[:, column]] -= self.options.diversity
        return words

    def _note_ends(
        self,
        step: int,
        live: _Live,
        ends: Floats,
        scores: NDArray[np.float64],
        parents: Integers,
        group: int,
    ) -> None:
        """Note hypotheses whose END is among the best candidates of their group.

        `ends` (photos, width) are the log-probabilities of END, `scores` (photos, group size) the
        best words' scores and `parents` (photos, beam) their hypotheses.
        """
        size = self.options.group_size
        own = slice(group * size, (group + 1) * size)
        totals = live.totals[:, own] + ends[:, own]  # (photos, group size)
        if not (totals >= scores[:, -1:]).any():  # most steps: no END among the best
            return
        totals = np.where(np.isnan(ends[:, own]), _IMPOSSIBLE, totals)
        slots = np.arange(size)
        rivals = totals[:, None, :]
        ends_ahead = (rivals > totals[:, :, None]) | (
            (rivals == totals[:, :, None]) & (slots[None, :] < slots[:, None])
        )
        # END has a lower id than every word, so it precedes equal candidates of its hypothesis
        words_ahead = (scores[:, None, :] > totals[:, :, None]) | (
            (scores[:, None, :] == totals[:, :, None])
            & (parents[:, None, own] - own.start < slots[:, None])
        )
        accepted = (ends_ahead.sum(2) + words_ahead.sum(2) < size) & (totals > _IMPOSSIBLE)
        for row, slot in np.argwhere(accepted).tolist():
            photo, total = int(live.photos[row]), float(totals[row, slot])
            score = self.options.score(total, step + 1)
            self.ended[photo].append(_Ended(score, total, step - 1, own.start + slot))
            self.ended_in_group[photo, group] += 1

    def _record(
        self,
        step: int,
        photos: Integers,
        chosen: _Chosen,
        attention: Floats | None,
        rows: Integers,
    ) -> None:
        self.parents[step, photos] = chosen.parents
        self.tokens[step, photos] = chosen.tokens
        self.word_log_probabilities[step, photos] = chosen.log_probabilities
        if attention is not None:
            if self.attention is None:
                shape = (*self.parents.shape, attention.shape[1])
                self.attention = np.zeros(shape, np.float32)
            self.attention[step, photos] = attention[rows]

    def _done(self, step: int, photos: Integers, totals: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which photos need no further step, bool (photos,); keep the others' totals."""
        best = totals.max(axis=1)
        done: NDArray[np.bool_] = best == _IMPOSSIBLE
        # log-probabilities only fall, so no later score exceeds that of the best at full length
        bound = best / self.options.max_length**self.options.length_penalty
        for row, photo in enumerate(photos.tolist()):
            if done[row]:
                continue
            self.last[photo] = (step, totals[row].copy())
            ended = self.ended[photo]
            if self.options.groups == 1 and len(ended) >= self.options.nbest:
                scores = sorted((item.score for item in ended), reverse=True)
                done[row] = scores[self.options.nbest - 1] >= bound[row]
        return done

    def _best(self, photo: int) -> list[Hypothesis]:
        """Return a photo's finished hypotheses, best first; unfinished ones fill up to `nbest`."""
        hypotheses = [self._trace(photo, ended, finished=True) for ended in self.ended[photo]]
        hypotheses.sort(key=_order)
        hypotheses = list({item.tokens: item for item in reversed(hypotheses)}.values())[::-1]
        if len(hypotheses) < self.options.nbest:
            step, totals = self.last[photo]
            unfinished = [
                self._trace(
                    photo,
                    _Ended(self.options.score(total, step + 1), total, step, slot),
                    finished=False,
                )
                for slot, total in enumerate(totals.tolist())
                if total > _IMPOSSIBLE
            ]
            unfinished.sort(key=_order)
            known = {item.tokens for item in hypotheses}
            hypotheses += [item for item in unfinished if item.tokens not in known]
        return hypotheses[: self.options.nbest]

    def _trace(self, photo: int, ended: _Ended, *, finished: bool) -> Hypothesis:
        """Follow the back-pointers from a hypothesis' last word to its first."""
        slots = [ended.slot]
        for step in range(ended.step, 0, -1):
            slots.append(int(self.parents[step, photo, slots[-1]]))
        path = (np.arange(ended.step + 1), photo, np.array(slots[::-1]))
        return Hypothesis(
            tokens=tuple(self.tokens[path].tolist()),
            log_probability=ended.log_probability,
            score=ended.score,
            word_log_probabilities=tuple(self.word_log_probabilities[path].tolist()),
            attention=None if self.attention is None else self.attention[path],
            finished=finished,
        )


def _order(hypothesis: Hypothesis) -> tuple[float, tuple[int, ...]]:
    return -hypothesis.score, hypothesis.tokens


def best_words(
    totals: NDArray[np.float64], log_probabilities: Floats, count: int
) -> tuple[NDArray[np.float64], Integers, Integers]:
    """Return each photo's `count` best candidates among all hypotheses and words.

    `totals` is [photos, width] (log-probabilities so far), `log_probabilities`
    [photos, width, vocabulary] (of the next word). Returns
    scores (-inf where there are fewer candidates), hypotheses and words, each [photos, count],
    best first; equal ones are sorted by hypothesis, then by word. The maxima of blocks of words
    give a bound that few words reach, which is several times faster than partitioning them all.
    """
    photos, width, size = log_probabilities.shape
    whole = size - size % _BLOCK
    blocks = [log_probabilities[:, :, :whole].reshape(photos, width, -1, _BLOCK).max(axis=3)]
    if whole < size:
        blocks.append(log_probabilities[:, :, whole:].max(axis=2, keepdims=True))
    maxima = np.concatenate(blocks, axis=2)
    if np.isnan(maxima).any():
        usable = np.where(np.isnan(log_probabilities), np.float32(_IMPOSSIBLE), log_probabilities)
        return best_words(totals, usable, count)
    bounds = (totals[:, :, None] + maxima).reshape(photos, -1)
    bound = np.full(photos, _IMPOSSIBLE)
    if bounds.shape[1] > count:
        bound = np.partition(bounds, -count, axis=1)[:, -count]
    with np.errstate(invalid="ignore"):
        needed = bound[:, None] - totals
        needed -= 1e-5 * (1 + np.abs(needed))  # more than float32 rounds off
    needed = np.where(
        totals == _IMPOSSIBLE, np.inf, np.where(np.isnan(needed), _IMPOSSIBLE, needed)
    )
    hits = np.flatnonzero(log_probabilities >= needed[:, :, None].astype(np.float32))
    row, word = np.divmod(hits, size)
    photo, parent = np.divmod(row, width)
    scores = totals[photo, parent] + log_probabilities[photo, parent, word]
    order = np.lexsort((-scores, photo))  # stable: equal ones stay in order of row and word
    photo = photo[order]
    rank = np.arange(len(order)) - np.searchsorted(photo, np.arange(photos))[photo]
    order, photo, rank = order[rank < count], photo[rank < count], rank[rank < count]
    best = np.full((photos, count), _IMPOSSIBLE)
    parents, chosen = np.zeros((photos, count), np.int64), np.zeros((photos, count), np.int64)
    best[photo, rank], parents[photo, rank] = scores[order], parent[order]
    chosen[photo, rank] = word[order]
    return best, parents, chosen


def _without_repeats(words: Floats, past: Integers, n: int) -> Floats:
    """Forbid the last word of `past` [photos, width, tokens] and words that repeat an n-gram of it.

    Paulus, Xiong and Socher, "A Deep Reinforced Model for Abstractive Summarization", 2018.
    """
    length = past.shape[2]
    if not length:
        return words
    words = words.copy()
    photos, rows = np.indices(past.shape[:2])
    words[photos, rows, past[:, :, -1] - FIRST_WORD] = _IMPOSSIBLE
    if length >= n:
        grams = sliding_window_view(past, n, axis=2)  # (photos, width, positions, n)
        same = (grams[..., :-1] == past[:, :, None, length - n + 1 :]).all(axis=3)
        photo, row, position = np.nonzero(same)
        words[photo, row, grams[photo, row, position, -1] - FIRST_WORD] = _IMPOSSIBLE
    return words
