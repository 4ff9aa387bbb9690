"""Captions of the dev sets by decoders in PyTorch, with CIDEr and how many main nouns they name.

Input: features and stacked logits of dev, coco_dev and examples.

Output: nothing; `train_decoders.py` and `choose_strength.py` call these functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from places import COCO_FIRST_HALF, EXAMPLES, FIRST_HALF, Places
from showtell.decoding.beam_search import beam_search
from showtell.decoding.keywords import DETECTED
from showtell.nets.gated_decoder import GatedDecoder
from showtell.nets.model import TorchDecoder
from showtell.scoring.main_nouns import main_nouns, names_main_noun
from showtell.scoring.metrics import cider
from showtell.scoring.tokenized import showtell_tokens
from showtell.vocabulary import FIRST_WORD, tokenize
from stack_logits import Detection
from words import Floats, Words

_BATCH = 32


@dataclass(frozen=True)
class DevSets:
    """The sets that captions are measured on, and the examples to look at."""

    places: Places
    words: Words
    detection: Detection

    @cached_property
    def coco_references(self) -> list[tuple[str, ...]]:
        """The captions of each COCO photo."""
        return [photo.captions for photo in self.places.coco_dev]

    @cached_property
    def flickr8k_references(self) -> list[tuple[str, ...]]:
        """The captions of each dev photo of Flickr8k."""
        return [photo.captions for photo in self.places.flickr8k.split("dev")]

    def captions(
        self, decoder: GatedDecoder, name: str, photos: int | None = None, beam: int = 3
    ) -> list[str]:
        """Return the captions of a set, or of its first photos."""
        texts = self.best_captions(decoder, name, photos, beam=beam)
        return [best for best, *_ in texts]

    def best_captions(
        self,
        decoder: GatedDecoder,
        name: str,
        photos: int | None = None,
        *,
        beam: int,
        length_penalty: float = 1.0,
        nbest: int = 1,
    ) -> list[list[str]]:
        """Return the `nbest` captions of each photo of a set, or of its first photos."""
        regions = np.load(self.places.regions(name), mmap_mode="r")[:photos]
        logits = all_words(self.detection.logits(name)[:photos], self.words)
        texts = []
        for i in range(0, len(regions), _BATCH):
            features = {
                "regions": regions[i : i + _BATCH].astype(np.float32),
                DETECTED: logits[i : i + _BATCH],
            }
            hypotheses = beam_search(
                TorchDecoder(decoder),
                features,
                beam=beam,
                length_penalty=length_penalty,
                max_length=24,
                nbest=nbest,
                no_repeat_ngram=2,
            )
            decode = self.words.vocabulary.decode
            texts += [[decode(each.tokens) for each in best] for best in hypotheses]
        return texts

    def coco_scores(self, captions: Sequence[str]) -> str:
        """Return CIDEr (all, halves) and the main nouns that are named."""
        references, half = self.coco_references, COCO_FIRST_HALF
        halves = f"{cider_of(captions[:half], references[:half])}"
        halves += f", {cider_of(captions[half:], references[half:])}"
        nouns = named_nouns(references, captions)
        return f"coco {cider_of(captions, references)} ({halves}), {nouns}"

    def flickr8k_scores(self, captions: Sequence[str]) -> str:
        """Return CIDEr of the first half of dev, and of the second where it has captions."""
        parts = (slice(0, FIRST_HALF), slice(FIRST_HALF, len(captions)))
        scores = [cider_of(captions[p], self.flickr8k_references[p]) for p in parts if captions[p]]
        return f"flickr8k {', '.join(map(str, scores))}"

    def print_examples(self, captions: Sequence[str]) -> None:
        """Print the caption of each example."""
        for example, caption in zip(EXAMPLES, captions, strict=True):
            print(f"    {example}: {caption}", flush=True)


def all_words(logits: Floats, words: Words) -> Floats:
    """Return logits [photos, concepts] as [photos, words without special ones], 0 for others."""
    wide = np.zeros((len(logits), len(words.vocabulary)), np.float32)
    wide[:, words.concept_ids] = logits
    return wide[:, FIRST_WORD:]


def cider_of(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return CIDEr on showtell's tokens."""
    tokens = [[showtell_tokens(text) for text in texts] for texts in references[: len(captions)]]
    return round(cider([showtell_tokens(text) for text in captions], tokens), 1)


def named_nouns(
    references: Sequence[Sequence[str]],
    captions: Sequence[str],
    keywords: Mapping[int, Sequence[str]] | None = None,
) -> str:
    """Return of how many photos the main noun is named, and of all main nouns how many.

    `keywords` are those of each photo; the first five count as named.
    """
    photos: list[bool] = []
    nouns: list[bool] = []
    for i, (texts, caption) in enumerate(zip(references, captions, strict=False)):
        first = (keywords or {}).get(i, ())[:5]
        named = names_main_noun(texts, caption, first)
        if named is not None:
            photos.append(named)
        said = {*tokenize(caption), *first}
        nouns += [noun.is_named_by(said) for noun in main_nouns(texts)]
    return f"main noun {_share(photos)}, all main nouns {_share(nouns)}"


def _share(named: Sequence[bool] | NDArray[np.bool_]) -> str:
    return f"{sum(named)}/{len(named)} = {100 * sum(named) / len(named):.1f} %"
