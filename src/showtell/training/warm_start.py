"""Warm start: training that starts from a trained model and adds the words of new captions.

A run has its weights as PyTorch tensors. A bundle has only ONNX graphs; the weights are read back
from them, and the network with these weights must compute what the graphs compute.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from showtell.bundle import DECODER_BEGIN, DECODER_STEP, ENCODER, Bundle, load_bundle
from showtell.bundle.onnx_runtime import OnnxModel
from showtell.bundle.onnx_weights import weights_of
from showtell.bundle.registry import RUN_FILE, find_bundle, installed_models
from showtell.data.overlap import NAMES_KEY
from showtell.errors import BundleError, RecipeError, TrainingError
from showtell.nets.concepts import MAX_CONCEPTS
from showtell.nets.decoder import DecoderSettings
from showtell.nets.encoder import EncoderSpec, encoder_from_spec
from showtell.nets.gated_decoder import GatedDecoder
from showtell.nets.model import CaptionModel, TorchDecoder
from showtell.nets.renamed_parameters import with_current_names
from showtell.training.checkpoint import read_tensors, trained_tensors
from showtell.training.loop import load_weights
from showtell.training.recipe import Recipe, recipe_from_dict
from showtell.training.run_folder import open_run
from showtell.vocabulary import SPECIAL_WORDS, START, Vocabulary

logger = logging.getLogger(__name__)

INITIAL = "initial.safetensors"  # in a run folder: the decoder weights that the run started from
# Allowed differences between a bundle's graphs and the network with its weights, by precision.
# 8-bit products also round their inputs; other precisions compute in float32.
MAX_FEATURE_DIFFERENCE = {"int8": 0.1, "float16": 1e-3, "float32": 1e-3}
MAX_WORD_DIFFERENCE = {"int8": 0.05, "float16": 1e-3, "float32": 1e-3}
_PER_CONCEPT = ("log_prior", "global_logits", "region_logits")  # of the concept head
_COMPARED_STEPS = 6  # words of the captions along which the two are compared
_LIKELY = -9.0  # log-probability above which a word counts in the comparison


@dataclass(frozen=True)
class InitialModel:
    """A trained model to start from, with the origin and terms of its training data."""

    name: str
    model: CaptionModel
    vocabulary: Vocabulary
    dataset: str
    terms: str
    names: str  # of the photos it was trained on, packed by `pack_names`

    def adapt_recipe(self, recipe: Recipe) -> Recipe:
        """Return the recipe with this model's encoder and decoder settings."""
        spec = self.model.encoder.spec
        return with_networks(
            recipe,
            replace(
                recipe,
                encoder=spec.network,
                encoder_weights="init_from",
                image_size=spec.preprocessing.height,
                decoder=self.model.settings,
            ),
        )

    def grow_vocabulary(self, captions: Iterable[str], min_count: int) -> Vocabulary:
        """Return the model's words, followed by the new words of `captions`."""
        known = self.vocabulary
        grown = known.grown(captions, min_count)
        logger.info("%s knows %d words, %d are new", self.name, len(known), len(grown) - len(known))
        return grown

    def write_decoder(self, run: Path, words: int, seed: int) -> None:
        """Write the decoder, enlarged to a vocabulary of `words` words, into a run folder."""
        grown = grown_tensors(self.model, words, seed)
        save_file({k: v.clone() for k, v in grown.items()}, run / INITIAL)

    def description(self, *, decoder: bool) -> dict[str, Any]:
        """Return what a run's description keeps of this model.

        `decoder` says whether the run starts from its decoder, too, and so with its words.
        """
        return {
            "model": self.name,
            **({"words": len(self.vocabulary)} if decoder else {}),
            "dataset": self.dataset,
            "terms": self.terms,
            NAMES_KEY: self.names,
        }

    def give_encoder(self, recipe: Recipe) -> Recipe:
        """Return the recipe with this model's encoder."""
        spec = self.model.encoder.spec
        return replace(
            recipe,
            encoder=spec.network,
            encoder_weights="encoder_from",
            image_size=spec.preprocessing.height,
        )


def with_encoder(recipe: Recipe, other: Recipe) -> Recipe:
    """Return the recipe with the encoder of another recipe."""
    return replace(
        recipe,
        encoder=other.encoder,
        encoder_weights=other.encoder_weights,
        image_size=other.image_size,
    )


def with_networks(recipe: Recipe, other: Recipe) -> Recipe:
    """Return the recipe with the networks of another recipe; dropout stays."""
    dropout, input_dropout = recipe.decoder.dropout, recipe.decoder.input_dropout
    decoder = replace(other.decoder, dropout=dropout, input_dropout=input_dropout)
    return replace(with_encoder(recipe, other), decoder=decoder)


def load_initial(run: Path, model: CaptionModel) -> None:
    """Load the decoder weights that a run started from, if it had a warm start."""
    if (run / INITIAL).is_file():
        load_weights(model.decoder, with_current_names(read_tensors(run / INITIAL)))


def open_initial_model(model: str) -> InitialModel:
    """Open a trained model by its name, or by the folder of its bundle or run.

    Raises BundleError where there is no such model, and TrainingError where the weights cannot be
    read back from a bundle.
    """
    named = any(installed.name == model for installed in installed_models())
    if not named and (Path(model) / RUN_FILE).is_file():
        return _from_run(Path(model))
    return _from_bundle(load_bundle(find_bundle(model)))


def _from_run(path: Path) -> InitialModel:
    run = open_run(path)
    origin = run.origin
    return InitialModel(
        path.resolve().name,
        run.model,
        run.vocabulary,
        origin.dataset,
        origin.terms,
        origin.names,
    )


def _from_bundle(bundle: Bundle) -> InitialModel:
    manifest = bundle.manifest
    try:
        model = _build_networks(bundle)
        weights: dict[str, Any] = {}
        for name in (ENCODER, DECODER_BEGIN, DECODER_STEP):
            weights |= with_current_names(weights_of(bundle.file(name)))
        _load_weights(model, weights)
        features, words = compare_with_bundle(bundle, model)
    except (KeyError, TypeError, ValueError, RuntimeError, RecipeError) as error:
        raise TrainingError(_unreadable(bundle, str(error))) from error
    encoder, decoder = manifest.precision.encoder, manifest.precision.decoder
    # not the other way round, so that NaN is refused
    if not (features <= MAX_FEATURE_DIFFERENCE[encoder] and words <= MAX_WORD_DIFFERENCE[decoder]):
        problem = f"features differ by {features:.2g}, log-probabilities by {words:.2g}"
        raise TrainingError(_unreadable(bundle, problem))
    data = manifest.training
    return InitialModel(
        manifest.name,
        model,
        bundle.vocabulary,
        data.dataset,
        manifest.terms,
        data.name_hashes or "",
    )


def _unreadable(bundle: Bundle, why: str) -> str:
    return (
        f"{bundle.path}: its weights cannot be read back ({why}): start from the training run that"
        " it was exported from, or export it again"
    )


def _build_networks(bundle: Bundle) -> CaptionModel:
    """Build the bundle's networks, with random weights."""
    encoder, training = bundle.manifest.encoder, bundle.manifest.training
    network = encoder.network
    if not timm.is_model(network):
        raise BundleError(f"{bundle.path}: timm has no network '{network}'")
    spec = EncoderSpec.from_dict(
        {
            "network": network,
            "options": encoder.options,
            "batch_norm_epsilon": encoder.batch_norm_epsilon,
            "preprocessing": bundle.manifest.preprocessing.to_dict(),
            "source": encoder.weights,
            "folded": True,  # export folds the batch norm that training left
            **({"detector": asdict(encoder.detector)} if encoder.detector else {}),
        }
    )
    recipe = recipe_from_dict({"decoder": training.recipe["decoder"]})
    settings: DecoderSettings = recipe.decoder
    return CaptionModel(encoder_from_spec(spec), settings, len(bundle.vocabulary)).eval()


def _load_weights(model: CaptionModel, weights: dict[str, Any]) -> None:
    """Load weights from graphs into a model; a bias that the exporter left out was zero."""
    tensors = model.state_dict(keep_vars=True)
    names: dict[int, list[str]] = {}  # of each tensor: a tied tensor has several
    for name, tensor in tensors.items():
        names.setdefault(id(tensor), []).append(name)
    for aliases in names.values():
        tensor = tensors[aliases[0]]
        array = next((weights[name] for name in aliases if name in weights), None)
        with torch.no_grad():
            if array is not None:
                if tensor.shape != array.shape:
                    raise ValueError(f"{aliases[0]} is {array.shape}, not {tuple(tensor.shape)}")
                tensor.copy_(torch.tensor(array))
            elif aliases[0].endswith(".bias"):
                tensor.zero_()
            elif not aliases[0].endswith("num_batches_tracked"):
                raise ValueError(f"no weights '{aliases[0]}' in its graphs")


def compare_with_bundle(bundle: Bundle, model: CaptionModel) -> tuple[float, float]:
    """Return how much a model differs from a bundle on the same noise.

    The first number is the relative difference of features. The second is the mean difference in
    the log-probability of likely words, along the words that the bundle finds likeliest.
    """
    size = (bundle.manifest.preprocessing.height, bundle.manifest.preprocessing.width)
    pixels = np.random.default_rng(0).normal(size=(2, 3, *size)).astype(np.float32)
    graphs, decoder = OnnxModel(bundle, threads=1), TorchDecoder(model.decoder)
    with torch.inference_mode():
        encoded = model.encoder(torch.from_numpy(pixels))
    memory, state = decoder.init_state({name: array.numpy() for name, array in encoded.items()})
    graph_features = graphs.encode(pixels)
    regions = encoded["regions"].numpy()  # [photos, regions, channels]
    difference = float(np.linalg.norm(regions - graph_features["regions"]))
    difference /= float(np.linalg.norm(regions)) + 1e-9
    graph_memory, graph_state = graphs.init_state(graph_features)
    tokens = np.full(len(pixels), START)
    differences = []
    for _ in range(_COMPARED_STEPS):
        scores, _, state = decoder.step(tokens, memory, state)  # [photos, words]
        graph_scores, _, graph_state = graphs.step(tokens, graph_memory, graph_state)
        likely = graph_scores > _LIKELY
        differences.append(float(np.abs(scores - graph_scores)[likely].mean()))
        graph_scores[:, : len(SPECIAL_WORDS)] = -np.inf
        tokens = graph_scores.argmax(1)
    return difference, float(np.mean(differences))


def grown_tensors(model: CaptionModel, words: int, seed: int) -> dict[str, Tensor]:
    """Return the decoder's weights with rows for `words` words; old words keep theirs.

    A new word starts as the mean of all words plus a little noise. The mean hardly changes the
    probabilities of the other words (Hewitt, Initializing New Word Embeddings for Pretrained
    Language Models, 2021); the noise makes new words differ.
    """
    generator = torch.Generator().manual_seed(seed)
    grown = {}
    for name, tensor in trained_tensors(model.decoder).items():
        if isinstance(model.decoder, GatedDecoder) and name == "is_object.bias":
            grown[name] = torch.cat([tensor, tensor.new_zeros(words - len(tensor))])
            continue
        concepts = not isinstance(model.decoder, GatedDecoder)
        if concepts and any(f".{part}." in f".{name}" for part in _PER_CONCEPT):
            grown[name] = _grown_head(name, tensor, words)
            continue
        per_word = name.endswith(("embed.weight", "word.weight", "word.bias"))
        if not per_word or tensor.shape[0] == words:
            grown[name] = tensor
            continue
        known = tensor[len(SPECIAL_WORDS) :]
        shape = (words - tensor.shape[0], *tensor.shape[1:])
        noise = torch.randn(shape, generator=generator) * known.std(0)
        grown[name] = torch.cat([tensor, known.mean(0) + 0.1 * noise])
    return grown


def _grown_head(name: str, tensor: Tensor, words: int) -> Tensor:
    """Return a concept head's parameter with rows for new concepts, as a new head has them."""
    rows = min(MAX_CONCEPTS, words - len(SPECIAL_WORDS)) - len(tensor)
    # the values of a new head
    value = math.log(0.5) if ".log_prior." in f".{name}" else 0.0
    return torch.cat([tensor, tensor.new_full((rows, *tensor.shape[1:]), value)])
