"""How a run begins: a new run folder, or one that is gone on with, and the networks it holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from showtell import __version__
from showtell.data.dataset import CaptionedPhoto, Dataset, fingerprint
from showtell.data.overlap import NAMES_KEY, pack_names
from showtell.errors import RecipeError, TrainingError
from showtell.nets.encoder import SPEC_KEY, Encoder, EncoderSpec, build_encoder, encoder_from_spec
from showtell.training.checkpoint import read_json, read_tensors, write_json
from showtell.training.distributed import Ranks
from showtell.training.recipe import Recipe, recipe_from_dict
from showtell.training.rehearsal import Rehearsal
from showtell.training.run_folder import ENCODER, RUN, VOCABULARY, spec_of
from showtell.training.warm_start import open_start, with_networks
from showtell.vocabulary import SPECIAL_WORDS, Vocabulary

# keys that change how a run goes on but not what it computes
FREE_KEYS = (
    "save_minutes",
    "save_steps",
    "device",
    "feature_cache",
    "accumulate",
    "workers",
    "compile",
)


@dataclass(frozen=True)
class Begun:
    """A run that can go on: the recipe it follows, its words and its encoder."""

    recipe: Recipe
    vocabulary: Vocabulary
    encoder: Encoder
    resumed: bool


@dataclass(frozen=True)
class Beginning:
    """What a run starts from; `train_photos` are the dataset's, then those of `rehearsal`."""

    recipe: Recipe
    dataset: Dataset
    rehearsal: Rehearsal | None
    train_photos: Sequence[CaptionedPhoto]
    output: Path

    def on_all(self, ranks: Ranks, resume: str | None) -> Begun:
        """Begin on the first rank, and tell the others; see `begin`."""
        here: list[Begun] = []

        def told() -> tuple[Recipe, str, dict[str, Any], dict[str, torch.Tensor], bool]:
            begun = self.begin(resume)
            here.append(begun)
            encoder = begun.encoder
            state = encoder.network.state_dict() if ranks.count > 1 else {}
            words = begun.vocabulary.to_json()
            return begun.recipe, words, encoder.spec.to_dict(), state, begun.resumed

        recipe, words, spec, state, resumed = ranks.by_first(told)
        if here:
            return here[0]
        encoder = encoder_from_spec(EncoderSpec.from_dict(spec), state)
        return Begun(recipe, Vocabulary.from_json(words, Path(VOCABULARY)), encoder, resumed)

    def begin(self, resume: str | None) -> Begun:
        """Start a run in the folder `output`, or open the one that it holds.

        Raises TrainingError where it holds one and `resume` is not asked for, or one on other
        photos, or no word is frequent enough; RecipeError where that run has another recipe.
        """
        resumed = (self.output / RUN).is_file()
        if resumed and resume is None:
            raise TrainingError(
                f"{self.output}: holds a run already: go on with --resume auto,"
                " or choose another --output"
            )
        return self._reopened() if resumed else self._started()

    def _started(self) -> Begun:
        recipe, output = self.recipe, self.output
        torch.manual_seed(recipe.seed)  # for an encoder that begins at random
        captions = [text for photo in self.train_photos for text in photo.captions]
        start = open_start(recipe.init_from) if recipe.init_from else None
        if start:
            recipe = start.fitted(recipe)
            encoder = start.model.encoder
            new = [text for photo in self.dataset.split("train") for text in photo.captions]
            vocabulary = start.grown_vocabulary(new, recipe.min_count)
        else:
            encoder = build_encoder(recipe.encoder, recipe.encoder_weights, recipe.image_size)
            vocabulary = Vocabulary.build(captions, recipe.min_count)
        if len(vocabulary) == len(SPECIAL_WORDS):
            raise TrainingError(
                f"{self.dataset.root}: no word occurs {recipe.min_count} times in the training"
                " captions: lower min_count"
            )
        output.mkdir(parents=True, exist_ok=True)
        (output / VOCABULARY).write_text(vocabulary.to_json(), "utf-8")
        spec = json.dumps(encoder.spec.to_dict())
        weights = {k: v.contiguous() for k, v in encoder.network.state_dict().items()}
        try:
            save_file(weights, output / ENCODER, {SPEC_KEY: spec})
        except SafetensorError as error:
            raise TrainingError(f"{output / ENCODER}: cannot be written ({error})") from None
        if start:
            start.write_decoder(output, len(vocabulary), recipe.seed)
        write_json(
            output / RUN,
            {
                "written_by": __version__,
                "recipe": recipe.to_dict(),
                "encoder": {
                    **encoder.spec.to_dict(),
                    "channels": encoder.channels,
                    "grid": list(encoder.grid),
                },
                "data": self._described_data(),
                **({"began": start.described()} if start else {}),
            },
        )
        return Begun(recipe, vocabulary, encoder, resumed=False)

    def _reopened(self) -> Begun:
        recipe, output = self.recipe, self.output
        kept = read_json(output / RUN)
        old = recipe_from_dict(kept["recipe"])
        if recipe.init_from:
            recipe = with_networks(recipe, old)
        free = {key: getattr(recipe, key) for key in FREE_KEYS}
        now, then = recipe.to_dict(), replace(old, **free).to_dict()
        more = len(now["stages"]) - len(then["stages"])
        if more > 0 and now["stages"][:-more] == then["stages"]:
            then["stages"] = now["stages"]  # a run may be given stages to come
        different = [key for key in now if now[key] != then[key]]
        if different:
            raise RecipeError(
                f"{output}: was begun with another '{different[0]}': resume with the recipe it"
                " had, or choose another --output"
            )
        if kept["data"] != self._described_data():
            raise TrainingError(
                f"{output}: was begun on other photos than {self.dataset.root} holds"
            )
        path = output / VOCABULARY
        vocabulary = Vocabulary.from_json(path.read_text("utf-8"), path)
        encoder = encoder_from_spec(spec_of(kept), read_tensors(output / ENCODER))
        write_json(output / RUN, kept | {"recipe": recipe.to_dict()})
        return Begun(recipe, vocabulary, encoder, resumed=True)

    def _described_data(self) -> dict[str, Any]:
        return {
            "layout": ", ".join(
                [self.dataset.layout, *([self.rehearsal.layout] if self.rehearsal else [])]
            ),
            "photos": {
                split: {
                    "count": len(photos),
                    "captions": sum(len(photo.captions) for photo in photos),
                    "fingerprint": fingerprint([photo.name for photo in photos]),
                }
                for split in ("train", "dev")
                if (photos := self.dataset.split(split))
            },
            NAMES_KEY: pack_names(photo.name for photo in self.train_photos),
        }
