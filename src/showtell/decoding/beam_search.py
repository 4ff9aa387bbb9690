"""Beam search and diverse beam search over any decoder, batched over photos; numpy only.

A decoder is anything with `init_state` and `step` (see `Decoder`): the ONNX one that captions, a
torch one while training, a table in a test. Photos never influence each other: a photo's captions
are the same alone and in a batch, as far as the decoder's own arithmetic is.

A hypothesis' score is its log-probability divided by (emitted tokens, END included) to the power
of `length_penalty` (Wu et al., "Google's Neural Machine Translation System", 2016, simplified).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from showtell.vocabulary import END, SPECIAL_WORDS, START

Arrays = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

FIRST_WORD = len(SPECIAL_WORDS)  # ids below are special: only END of them is ever emitted
_BLOCK = 64  # words whose maximum stands for them in the first look at the candidates
_NEVER = -np.inf


class Decoder(Protocol):
    """What a caption is decoded from.

    *memory* holds arrays that stay the same while a caption is written, one row per photo; *state*
    holds those that change, one row per hypothesis. Rows are grouped by photo: with `width` rows a
    photo, row r belongs to photo r // width, and `step` takes width as rows // photos.
    """

    def init_state(self, features: Arrays) -> tuple[Arrays, Arrays]:
        """Turn features (`regions`, `pooled`, one row per photo) into memory and first state."""
        ...

    def step(
        self, tokens: Integers, memory: Arrays, state: Arrays
    ) -> tuple[Floats, Floats | None, Arrays]:
        """Read one token per row; return log-probabilities, attention and the next state.

        Log-probabilities are [rows, words], attention [rows, regions] or None.
        """
        ...


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One caption as ids, without END.

    `log_probability` includes END where the hypothesis `finished`; `word_log_probabilities` has
    one entry a token (END's is the rest); `attention` is [tokens, regions] or None.
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
    """Find each photo's `nbest` captions, best first, by beam search; `beam=1` is greedy search.

    Every step keeps the `beam` best unfinished hypotheses; one whose END is among the `beam` best
    candidates is finished. A photo stops when `beam` have finished or the best finished cannot be
    beaten. Where too few finish within `max_length` tokens (END included), the best unfinished
    ones follow. PAD, START and UNKNOWN are never emitted and no caption is empty; equal candidates
    go by hypothesis, then by word id. `no_repeat_ngram=n` forbids an n-gram to occur twice, and a
    word to follow itself.

    A photo's list is empty only where the decoder gives no word any probability (NaN or -inf).
    Raises ValueError where an option is out of range.
    """
    return _Search(
        decoder, features, beam, 1, 0.0, length_penalty, max_length, nbest, no_repeat_ngram
    ).run()


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
    """Find captions that differ, by diverse beam search; sorted by score as `beam_search` does.

    The beam is cut into `groups` (default: one hypothesis each); a word that earlier groups chose
    in the same step costs a group `diversity` for each such choice. Log-probabilities and scores
    are the model's own, without that cost. Vijayakumar et al., "Diverse Beam Search", 2018.

    Raises ValueError where an option is out of range or `groups` does not divide `beam`.
    """
    groups = beam if groups is None else groups
    if groups < 1 or beam % groups:
        raise ValueError(f"groups={groups} does not divide beam={beam}")
    if not diversity >= 0:
        raise ValueError(f"diversity={diversity} is negative")
    return _Search(
        decoder,
        features,
        beam,
        groups,
        diversity,
        length_penalty,
        max_length,
        nbest,
        no_repeat_ngram,
    ).run()


def take_rows(arrays: Arrays, rows: Integers) -> dict[str, NDArray[Any]]:
    """Gather rows of every array, as a beam does with its state."""
    return {name: np.take(array, rows, axis=0) for name, array in arrays.items()}


def count_photos(features: Arrays) -> int:
    """Return the number of photos, one row of every feature each."""
    return len(next(iter(features.values())))


class _Search:
    """One search over a batch: live hypotheses as arrays, their past as back-pointers.

    Arrays are [photos still in the batch, beam]; history is [step, all photos, beam].
    """

    def __init__(
        self,
        decoder: Decoder,
        features: Arrays,
        beam: int,
        groups: int,
        diversity: float,
        length_penalty: float,
        max_length: int,
        nbest: int,
        no_repeat_ngram: int,
    ) -> None:
        if beam < 1 or max_length < 1 or no_repeat_ngram < 0:
            raise ValueError("beam and max_length start at 1, no_repeat_ngram at 0")
        if not 1 <= nbest <= beam:
            raise ValueError(f"nbest={nbest} is not between 1 and beam={beam}")
        if not length_penalty >= 0:
            raise ValueError(f"length_penalty={length_penalty} is negative")
        self.decoder, self.features = decoder, features
        self.beam, self.groups, self.group = beam, groups, beam // groups
        self.diversity, self.length_penalty = diversity, length_penalty
        self.max_length, self.nbest, self.no_repeat_ngram = max_length, nbest, no_repeat_ngram
        photos = count_photos(features) if features else 0
        shape = (max_length, photos, beam)
        self.parents = np.zeros(shape, np.int64)
        self.words = np.zeros(shape, np.int64)
        self.word_log_probabilities = np.zeros(shape, np.float32)
        self.attention: Floats | None = None  # [step, photo, beam, regions]
        self.finished: list[list[tuple[float, float, int, int]]] = [[] for _ in range(photos)]
        self.ended = np.zeros((photos, groups), np.int64)  # hypotheses finished in each group
        self.last: list[tuple[int, NDArray[np.float64]]] = [(-1, np.zeros(0))] * photos

    def run(self) -> list[list[Hypothesis]]:
        """Search all photos to their end."""
        photos = len(self.finished)
        if not photos:
            return []
        memory, state = self.decoder.init_state(self.features)
        alive = np.arange(photos)  # which photo each row of the arrays below is
        live = np.zeros((photos, 1))  # log-probability so far, -inf: no hypothesis here
        tokens = np.full((photos, 1), START)
        past = np.zeros((photos, 1, 0), np.int64)  # tokens so far, kept for no_repeat_ngram only
        for step in range(self.max_length):
            width = live.shape[1]
            log_probabilities, attention, state = self.decoder.step(tokens.ravel(), memory, state)
            table = log_probabilities.reshape(len(alive), width, -1)
            parents, tokens, chosen, live = self._extend(step, alive, live, table, past)
            rows = np.arange(len(alive))[:, None] * width + parents
            self._remember(step, alive, parents, tokens, chosen, attention, rows)
            done = self._stop(step, alive, live)
            if done.all():
                break
            live[done] = _NEVER
            if done.sum() * 4 >= len(done):  # copying memory for less costs more than it saves
                kept = np.flatnonzero(~done)
                alive, live, tokens, rows = alive[kept], live[kept], tokens[kept], rows[kept]
                parents, past, memory = parents[kept], past[kept], take_rows(memory, kept)
            state = take_rows(state, rows.ravel())
            if self.no_repeat_ngram:
                past = np.take_along_axis(past, parents[..., None], axis=1)
                past = np.concatenate([past, tokens[..., None]], axis=2)
        return [self._best(photo) for photo in range(photos)]

    def _extend(
        self, step: int, alive: Integers, live: NDArray[np.float64], table: Floats, past: Integers
    ) -> tuple[Integers, Integers, Floats, NDArray[np.float64]]:
        """Choose each photo's next hypotheses, group by group, and note those that end.

        Returns parent, word, its log-probability and the sum so far, each [photos, beam].
        """
        ends = table[:, :, END]
        words = table[:, :, FIRST_WORD:]
        if self.no_repeat_ngram:
            words = _without_repeats(words, past, self.no_repeat_ngram)
        shape = (len(alive), self.beam)
        parents, chosen = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        total = np.zeros(shape)
        for group in range(self.groups):
            own = slice(group * self.group, (group + 1) * self.group)
            rows = own if step else slice(0, 1)  # at the first step all groups share one row
            offered = words[:, rows]
            if group and self.diversity:
                offered = offered.copy()
                for before in range(group * self.group):
                    offered[np.arange(len(alive)), :, chosen[:, before]] -= self.diversity
            scores, parents[:, own], chosen[:, own] = best_words(live[:, rows], offered, self.group)
            parents[:, own] += rows.start
            # A slot without a candidate stays dead whatever its made-up parent and word are.
            dead = scores == _NEVER
            parents[:, own][dead] = rows.start
            if step:
                self._end(step, alive, live[:, own], ends[:, own], scores, parents[:, own], group)
            dead |= (self.ended[alive, group] >= self.group)[:, None]
            total[:, own][dead] = _NEVER
        photo = np.arange(len(alive))[:, None]
        gained = words[photo, parents, chosen]
        total = np.where(total == _NEVER, _NEVER, live[photo, parents] + gained)
        return parents, chosen + FIRST_WORD, gained, total

    def _end(
        self,
        step: int,
        alive: Integers,
        live: NDArray[np.float64],
        ends: Floats,
        scores: NDArray[np.float64],
        parents: Integers,
        group: int,
    ) -> None:
        """Note hypotheses whose END is among the best candidates of their group."""
        totals = live + ends
        if not (totals >= scores[:, -1:]).any():  # most steps: no END among the best
            return
        totals = np.where(np.isnan(ends), _NEVER, totals)
        slots = np.arange(self.group)
        rivals = totals[:, None, :]
        ahead = (rivals > totals[:, :, None]) | (
            (rivals == totals[:, :, None]) & (slots[None, :] < slots[:, None])
        )
        # END's id is below every word's, so of one hypothesis' equal candidates END goes first
        words_ahead = (scores[:, None, :] > totals[:, :, None]) | (
            (scores[:, None, :] == totals[:, :, None])
            & (parents[:, None, :] - group * self.group < slots[:, None])
        )
        accepted = (ahead.sum(2) + words_ahead.sum(2) < self.group) & (totals > _NEVER)
        for row, slot in zip(*(found.tolist() for found in np.nonzero(accepted)), strict=True):
            photo, total = int(alive[row]), float(totals[row, slot])
            score = total / (step + 1) ** self.length_penalty
            self.finished[photo].append((score, total, step, group * self.group + slot))
            self.ended[photo, group] += 1

    def _remember(
        self,
        step: int,
        alive: Integers,
        parents: Integers,
        tokens: Integers,
        chosen: Floats,
        attention: Floats | None,
        rows: Integers,
    ) -> None:
        self.parents[step, alive] = parents
        self.words[step, alive] = tokens
        self.word_log_probabilities[step, alive] = chosen
        if attention is not None:
            if self.attention is None:
                shape = (*self.parents.shape, attention.shape[1])
                self.attention = np.zeros(shape, np.float32)
            self.attention[step, alive] = attention[rows]

    def _stop(self, step: int, alive: Integers, live: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which photos need no further step, and keep the last hypotheses of each photo."""
        best = live.max(axis=1)
        done: NDArray[np.bool_] = best == _NEVER
        # log-probabilities only fall: no later score is above the best one at full length
        bound = best / self.max_length**self.length_penalty
        for row, photo in enumerate(alive.tolist()):
            if not done[row]:
                self.last[photo] = (step, live[row].copy())
                finished = self.finished[photo]
                if self.groups == 1 and len(finished) >= self.nbest:
                    worst = sorted((score for score, *_ in finished), reverse=True)[self.nbest - 1]
                    done[row] = worst >= bound[row]
        return done

    def _best(self, photo: int) -> list[Hypothesis]:
        """Sort a photo's finished hypotheses; unfinished ones fill up to `nbest`."""
        found = [
            self._trace(photo, step - 1, slot, total, score, finished=True)
            for score, total, step, slot in self.finished[photo]
        ]
        found.sort(key=lambda item: (-item.score, item.tokens))
        found = list({item.tokens: item for item in reversed(found)}.values())[::-1]
        if len(found) < self.nbest:
            step, live = self.last[photo]
            rest = [
                self._trace(
                    photo,
                    step,
                    slot,
                    total,
                    total / (step + 1) ** self.length_penalty,
                    finished=False,
                )
                for slot, total in enumerate(live.tolist())
                if total > _NEVER
            ]
            rest.sort(key=lambda item: (-item.score, item.tokens))
            known = {item.tokens for item in found}
            found += [item for item in rest if item.tokens not in known]
        return found[: self.nbest]

    def _trace(
        self, photo: int, step: int, slot: int, total: float, score: float, *, finished: bool
    ) -> Hypothesis:
        """Follow back-pointers from the last word at (`step`, `slot`) to the first."""
        slots = [slot]
        for earlier in range(step, 0, -1):
            slots.append(int(self.parents[earlier, photo, slots[-1]]))
        path = (np.arange(step + 1), photo, np.array(slots[::-1]))
        return Hypothesis(
            tokens=tuple(self.words[path].tolist()),
            log_probability=total,
            score=score,
            word_log_probabilities=tuple(self.word_log_probabilities[path].tolist()),
            attention=None if self.attention is None else self.attention[path],
            finished=finished,
        )


def best_words(
    live: NDArray[np.float64], words: Floats, count: int
) -> tuple[NDArray[np.float64], Integers, Integers]:
    """Find each photo's `count` best candidates among all hypotheses and words.

    `live` is [photos, width] (log-probability so far), `words` [photos, width, words]. Returns
    score (-inf where there are fewer candidates), hypothesis and word, each [photos, count], best
    first; ties go to the lower hypothesis, then the lower word. One pass over maxima of blocks
    gives a bound that leaves few words to look at, several times faster than a partition of all.
    """
    photos, width, size = words.shape
    whole = size - size % _BLOCK
    blocks = [words[:, :, :whole].reshape(photos, width, -1, _BLOCK).max(axis=3)]
    if whole < size:
        blocks.append(words[:, :, whole:].max(axis=2, keepdims=True))
    maxima = np.concatenate(blocks, axis=2)
    if np.isnan(maxima).any():
        return best_words(live, np.where(np.isnan(words), np.float32(_NEVER), words), count)
    bounds = (live[:, :, None] + maxima).reshape(photos, -1)
    bound = np.full(photos, _NEVER)
    if bounds.shape[1] > count:
        bound = np.partition(bounds, -count, axis=1)[:, -count]
    with np.errstate(invalid="ignore"):
        needed = bound[:, None] - live
        needed -= 1e-5 * (1 + np.abs(needed))  # more than float32 rounds off
    needed = np.where(live == _NEVER, np.inf, np.where(np.isnan(needed), _NEVER, needed))
    hits = np.flatnonzero(words >= needed[:, :, None].astype(np.float32))
    row, word = np.divmod(hits, size)
    photo, parent = np.divmod(row, width)
    scores = live[photo, parent] + words[photo, parent, word]
    order = np.lexsort((-scores, photo))  # stable: equal ones stay in order of row and word
    photo = photo[order]
    rank = np.arange(len(order)) - np.searchsorted(photo, np.arange(photos))[photo]
    order, photo, rank = order[rank < count], photo[rank < count], rank[rank < count]
    best = np.full((photos, count), _NEVER)
    parents, chosen = np.zeros((photos, count), np.int64), np.zeros((photos, count), np.int64)
    best[photo, rank], parents[photo, rank] = scores[order], parent[order]
    chosen[photo, rank] = word[order]
    return best, parents, chosen


def _without_repeats(words: Floats, past: Integers, n: int) -> Floats:
    """Forbid the last word of `past` [photos, width, tokens] and what completes an n-gram of it.

    Paulus, Xiong and Socher, A Deep Reinforced Model for Abstractive Summarization, 2018.
    """
    length = past.shape[2]
    if not length:
        return words
    words = words.copy()
    photos, rows = np.indices(past.shape[:2])
    words[photos, rows, past[:, :, -1] - FIRST_WORD] = _NEVER
    if length >= n:
        grams = sliding_window_view(past, n, axis=2)  # (photos, width, places, n)
        same = (grams[..., :-1] == past[:, :, None, length - n + 1 :]).all(axis=3)
        photo, row, place = np.nonzero(same)
        words[photo, row, grams[photo, row, place, -1] - FIRST_WORD] = _NEVER
    return words
