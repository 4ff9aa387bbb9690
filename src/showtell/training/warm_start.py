"""Training that begins with a trained model: its networks, its vocabulary and the new words.

A run's weights are there in PyTorch. A bundle holds ONNX graphs alone; its weights are read back
from them, and what was read is run beside the graphs before it is trusted.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from showtell.bundle import DECODER_BEGIN, DECODER_STEP, ENCODER, Bundle, load_bundle
from showtell.bundle.model_card import terms_of
from showtell.bundle.onnx_runtime import OnnxModel
from showtell.bundle.onnx_weights import weights_of
from showtell.bundle.registry import RUN_FILE, find_bundle, installed_models
from showtell.data.overlap import NAMES_KEY
from showtell.errors import BundleError, RecipeError, TrainingError
from showtell.nets.concepts import MAX_CONCEPTS
from showtell.nets.decoder import DecoderSettings
from showtell.nets.encoder import EncoderSpec, encoder_from_spec
from showtell.nets.model import CaptionModel, TorchDecoder
from showtell.nets.renamed_parameters import with_current_names
from showtell.training.checkpoint import read_tensors, trained_tensors
from showtell.training.loop import load_weights
from showtell.training.recipe import Recipe, recipe_from_dict
from showtell.training.run_folder import joined, open_run
from showtell.vocabulary import SPECIAL_WORDS, START, Vocabulary

logger = logging.getLogger(__name__)

INITIAL = "initial.safetensors"  # in a run's folder: the decoder that it began with
# how far a bundle and its weights may be apart: 8-bit products round what they read, too, so they
# differ from float32; other precisions are computed in float32
FEATURES = {"int8": 0.1, "float16": 1e-3, "float32": 1e-3}
WORDS = {"int8": 0.05, "float16": 1e-3, "float32": 1e-3}
_PER_CONCEPT = ("log_prior", "global_logits", "region_logits")  # of the concept head
_STEPS = 6  # words that the two are compared along
_LIKELY = -9.0  # log-probability above which a word counts in the comparison


@dataclass(frozen=True)
class Start:
    """A trained model to begin with, and what its own training leaves behind in it."""

    name: str
    model: CaptionModel
    vocabulary: Vocabulary
    dataset: str
    terms: str
    names: str  # the photos it was trained on, as `pack_names` packed them

    def fitted(self, recipe: Recipe) -> Recipe:
        """Return the recipe with this model's networks in the place of its own."""
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

    def grown_vocabulary(self, captions: Iterable[str], min_count: int) -> Vocabulary:
        """Return the model's words and, after them, those of `captions` that it lacks."""
        known = self.vocabulary
        found = Vocabulary.build(captions, min_count)
        new = [word for word in found.words if word not in known]
        logger.info("%s knows %d words, %d are new", self.name, len(known), len(new))
        return Vocabulary((*known.words, *new), known.min_count, known.rule)

    def write_decoder(self, run: Path, words: int, seed: int) -> None:
        """Write the decoder, grown to a vocabulary of `words` words, into a run's folder."""
        grown = grown_tensors(self.model, words, seed)
        save_file({k: v.clone() for k, v in grown.items()}, run / INITIAL)

    def described(self) -> dict[str, Any]:
        """Return what a run's description keeps of it."""
        return {
            "model": self.name,
            "dataset": self.dataset,
            "terms": self.terms,
            NAMES_KEY: self.names,
        }


def with_networks(recipe: Recipe, other: Recipe) -> Recipe:
    """Return the recipe with another's networks; how words are dropped out stays its own."""
    own = recipe.decoder
    decoder = replace(other.decoder, dropout=own.dropout, input_dropout=own.input_dropout)
    return replace(
        recipe,
        encoder=other.encoder,
        encoder_weights=other.encoder_weights,
        image_size=other.image_size,
        decoder=decoder,
    )


def load_initial(run: Path, model: CaptionModel) -> None:
    """Give a model the decoder that its run began with, where it began with one."""
    if (run / INITIAL).is_file():
        load_weights(model.decoder, with_current_names(read_tensors(run / INITIAL)))


def open_start(model: str) -> Start:
    """Open the model to begin with: a name, a bundle's folder or a run's.

    Raises BundleError where there is no such model, TrainingError where a bundle's weights cannot
    be read back.
    """
    named = any(installed.name == model for installed in installed_models())
    if not named and (Path(model) / RUN_FILE).is_file():
        return _from_run(Path(model))
    return _from_bundle(load_bundle(find_bundle(model)))


def _from_run(path: Path) -> Start:
    trained = open_run(path)
    data, began = trained.description["data"], trained.description.get("began", {})
    return Start(
        path.resolve().name,
        trained.model,
        trained.vocabulary,
        joined([began.get("dataset"), data["layout"]], ", then "),
        joined([began.get("terms"), terms_of(data["layout"])], " "),
        data[NAMES_KEY],
    )


def _from_bundle(bundle: Bundle) -> Start:
    manifest = bundle.manifest
    try:
        model = _built(bundle)
        weights: dict[str, Any] = {}
        for name in (ENCODER, DECODER_BEGIN, DECODER_STEP):
            weights |= with_current_names(weights_of(bundle.file(name)))
        _fill(model, weights)
        features, words = compare(bundle, model)
    except (KeyError, TypeError, ValueError, RuntimeError, RecipeError) as error:
        raise TrainingError(_unreadable(bundle, str(error))) from error
    encoder, decoder = manifest.precision.encoder, manifest.precision.decoder
    if not (features <= FEATURES[encoder] and words <= WORDS[decoder]):
        found = f"features differ by {features:.2g}, log-probabilities by {words:.2g}"
        raise TrainingError(_unreadable(bundle, found))
    data = manifest.training
    return Start(
        manifest.name,
        model,
        bundle.vocabulary,
        data.dataset,
        manifest.terms,
        data.name_hashes or "",
    )


def _unreadable(bundle: Bundle, why: str) -> str:
    return (
        f"{bundle.path}: its weights cannot be read back ({why}): begin with the training run that"
        " it was exported from, or export it again"
    )


def _built(bundle: Bundle) -> CaptionModel:
    """Build the bundle's networks, their weights still at random."""
    encoder, training = bundle.manifest.encoder, bundle.manifest.training
    network = encoder.network
    if not timm.is_model(network):
        raise BundleError(f"{bundle.path}: '{network}' is no network of timm")
    spec = EncoderSpec.from_dict(
        {
            "network": network,
            "options": encoder.options,
            "batch_norm_epsilon": encoder.batch_norm_epsilon,
            "preprocessing": bundle.manifest.preprocessing.to_dict(),
            "source": encoder.weights,
            "folded": True,  # exporters fold what frozen batch norm is left
        }
    )
    recipe = recipe_from_dict({"decoder": training.recipe["decoder"]})
    settings: DecoderSettings = recipe.decoder
    return CaptionModel(encoder_from_spec(spec), settings, len(bundle.vocabulary)).eval()


def _fill(model: CaptionModel, weights: dict[str, Any]) -> None:
    """Put weights into a model; a bias that the exporter left out was zero."""
    tensors = model.state_dict(keep_vars=True)
    names: dict[int, list[str]] = {}  # of each tensor: a tied one has several
    for name, tensor in tensors.items():
        names.setdefault(id(tensor), []).append(name)
    for aliases in names.values():
        tensor = tensors[aliases[0]]
        found = next((weights[name] for name in aliases if name in weights), None)
        with torch.no_grad():
            if found is not None:
                if tensor.shape != found.shape:
                    raise ValueError(f"{aliases[0]} is {found.shape}, not {tuple(tensor.shape)}")
                tensor.copy_(torch.tensor(found))
            elif aliases[0].endswith(".bias"):
                tensor.zero_()
            elif not aliases[0].endswith("num_batches_tracked"):
                raise ValueError(f"no weights '{aliases[0]}' in its graphs")


def compare(bundle: Bundle, model: CaptionModel) -> tuple[float, float]:
    """Return how far a model is from a bundle, both reading the same noise.

    First the features' relative difference, then likely words' mean difference in log-probability
    along the bundle's likeliest words.
    """
    size = (bundle.manifest.preprocessing.height, bundle.manifest.preprocessing.width)
    pixels = np.random.default_rng(0).normal(size=(2, 3, *size)).astype(np.float32)
    graphs, decoder = OnnxModel(bundle, threads=1), TorchDecoder(model.decoder)
    with torch.inference_mode():
        encoded = model.encoder(torch.from_numpy(pixels))
    memory, state = decoder.init_state({name: array.numpy() for name, array in encoded.items()})
    seen = graphs.encode(pixels)
    regions = encoded["regions"].numpy()
    apart = np.linalg.norm(regions - seen["regions"]) / (float(np.linalg.norm(regions)) + 1e-9)
    memory2, state2 = graphs.init_state(seen)
    tokens = np.full(len(pixels), START)
    differences = []
    for _ in range(_STEPS):
        ours, _, state = decoder.step(tokens, memory, state)
        theirs, _, state2 = graphs.step(tokens, memory2, state2)
        likely = theirs > _LIKELY
        differences.append(float(np.abs(ours - theirs)[likely].mean()))
        theirs[:, : len(SPECIAL_WORDS)] = -np.inf
        tokens = theirs.argmax(1)
    return float(apart), float(np.mean(differences))


def grown_tensors(model: CaptionModel, words: int, seed: int) -> dict[str, Tensor]:
    """Return the decoder's weights with rows for as many words, the old ones as they were.

    A new word begins as the mean of all words, which takes nothing from the probabilities of the
    others (Hewitt, Initializing New Word Embeddings for Pretrained Language Models, 2021), and a
    little noise, so that new words are told apart.
    """
    generator = torch.Generator().manual_seed(seed)
    grown = {}
    for name, tensor in trained_tensors(model.decoder).items():
        if any(
            f".{part}." in f".{name}" for part in ("log_prior", "global_logits", "region_logits")
        ):
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
    value = (
        math.log(0.5) if ".log_prior." in f".{name}" else 0.0
    )  # as a head that knows nothing has
    return torch.cat([tensor, tensor.new_full((rows, *tensor.shape[1:]), value)])
