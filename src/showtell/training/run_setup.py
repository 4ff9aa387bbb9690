"""The start of a run: a new run folder, or an existing one to resume."""

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
from showtell.language.languages import ENGLISH, Language, language_of
from showtell.nets.encoder import SPEC_KEY, Encoder, EncoderSpec, build_encoder, encoder_from_spec
from showtell.training.checkpoint import read_run_json, read_tensors, write_run_json
from showtell.training.distributed import Ranks
from showtell.training.recipe import Recipe, recipe_from_dict
from showtell.training.rehearsal import Rehearsal
from showtell.training.run_folder import ENCODER, RUN, VOCABULARY, spec_of
from showtell.training.warm_start import (
    InitialModel,
    open_initial_model,
    with_encoder,
    with_networks,
)
from showtell.vocabulary import SPECIAL_WORDS, Vocabulary

# keys that a resumed run may change, because they do not change what it computes
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
class RunStart:
    """A run folder that is ready to train: its recipe, vocabulary and encoder.

    `known_words` is the number of words that the initial model knows, the first ones of the
    vocabulary; None if the run starts with a new decoder.
    """

    recipe: Recipe
    vocabulary: Vocabulary
    encoder: Encoder
    resumed: bool
    known_words: int | None = None


@dataclass(frozen=True)
class RunSetup:
    """Sets up a run folder. `train_photos` are the dataset's, then those of `rehearsal`."""

    recipe: Recipe
    dataset: Dataset
    rehearsal: Rehearsal | None
    train_photos: Sequence[CaptionedPhoto]
    output: Path

    def on_all_ranks(self, ranks: Ranks, resume: str | None) -> RunStart:
        """Set up the run on the first rank and send the result to the others; see `start`."""
        on_this_rank: list[RunStart] = []

        def start() -> tuple[Recipe, str, dict[str, Any], dict[str, torch.Tensor], Any]:
            run = self.start(resume)
            on_this_rank.append(run)
            state = run.encoder.weights() if ranks.count > 1 else {}
            spec = run.encoder.spec.to_dict()
            return run.recipe, run.vocabulary.to_json(), spec, state, (run.resumed, run.known_words)

        recipe, words, spec, state, more = ranks.on_rank_zero(start)
        if on_this_rank:
            return on_this_rank[0]
        encoder = encoder_from_spec(EncoderSpec.from_dict(spec), state)
        return RunStart(recipe, Vocabulary.from_json(words, Path(VOCABULARY)), encoder, *more)

    def start(self, resume: str | None) -> RunStart:
        """Create the run folder `output`, or open the run that it holds.

        Raises TrainingError where it holds a run and `resume` is None, or a run on other photos,
        or no word is frequent enough; RecipeError where the run in it has another recipe.
        """
        resumed = (self.output / RUN).is_file()
        if resumed and resume is None:
            raise TrainingError(
                f"{self.output}: already holds a run: resume it with --resume auto,"
                " or choose another --output"
            )
        return self._resume() if resumed else self._create()

    def _create(self) -> RunStart:
        recipe, output = self.recipe, self.output
        torch.manual_seed(recipe.seed)  # for an encoder with random weights
        language = self._language()
        source = recipe.init_from or recipe.encoder_from
        initial = open_initial_model(source) if source else None
        if initial and recipe.init_from:
            self._check_language(language, initial)
            recipe = initial.adapt_recipe(recipe)
            captions = [text for photo in self.dataset.split("train") for text in photo.captions]
            vocabulary = initial.grow_vocabulary(captions, recipe.min_count)
        else:
            recipe = initial.give_encoder(recipe) if initial else recipe
            captions = [text for photo in self.train_photos for text in photo.captions]
            vocabulary = Vocabulary.build(captions, recipe.min_count, language or ENGLISH)
        if initial:
            encoder = initial.model.encoder
        else:
            encoder = build_encoder(recipe.encoder, recipe.encoder_weights, recipe.image_size)
        if len(vocabulary) == len(SPECIAL_WORDS):
            raise TrainingError(
                f"{self.dataset.root}: no word occurs {recipe.min_count} times in the training"
                " captions: lower min_count"
            )
        output.mkdir(parents=True, exist_ok=True)
        (output / VOCABULARY).write_text(vocabulary.to_json(), "utf-8")
        _save_encoder(encoder, output / ENCODER)
        known_words = None
        if initial and recipe.init_from:
            initial.write_decoder(output, len(vocabulary), recipe.seed)
            known_words = len(initial.vocabulary)
        # last, because a folder with this file holds a run
        write_run_json(output / RUN, self._description(recipe, encoder, initial))
        return RunStart(recipe, vocabulary, encoder, resumed=False, known_words=known_words)

    def _description(
        self, recipe: Recipe, encoder: Encoder, initial: InitialModel | None
    ) -> dict[str, Any]:
        description = {
            "written_by": __version__,
            "recipe": recipe.to_dict(),
            "encoder": {
                **encoder.spec.to_dict(),
                "channels": encoder.channels,
                "grid": list(encoder.grid),
            },
            "data": self._data_description(),
        }
        if initial:
            description["began"] = initial.description(decoder=bool(recipe.init_from))
        return description

    def _language(self) -> Language | None:
        """Return the captions' language by the recipe or the dataset; None if neither names one.

        Raises RecipeError where the two name different languages.
        """
        of_recipe = language_of(self.recipe.language) if self.recipe.language else None
        of_dataset = language_of(self.dataset.language) if self.dataset.language else None
        if of_recipe and of_dataset and of_recipe.base != of_dataset.base:
            raise RecipeError(
                f"language: {of_recipe.code}, but the captions of {self.dataset.root} are in"
                f" {of_dataset.name}: set language={of_dataset.code}"
            )
        return of_recipe or of_dataset

    def _check_language(self, language: Language | None, initial: InitialModel) -> None:
        """Raise RecipeError where the initial model writes another language."""
        writes = initial.vocabulary.rules
        if language and language.base != writes.base:
            raise RecipeError(
                f"init_from: {initial.name} writes {writes.name}, the captions are in"
                f" {language.name}: start a new decoder on its encoder, with encoder_from instead"
            )

    def _resume(self) -> RunStart:
        recipe, output = self.recipe, self.output
        description = read_run_json(output / RUN)
        old = recipe_from_dict(description["recipe"], output / RUN)
        if recipe.init_from:
            recipe = with_networks(recipe, old)
        elif recipe.encoder_from:
            recipe = with_encoder(recipe, old)
        self._check_recipe(recipe, old)
        if description["data"] != self._data_description():
            raise TrainingError(
                f"{output}: this run was started on other photos than {self.dataset.root} holds"
            )
        path = output / VOCABULARY
        vocabulary = Vocabulary.from_json(path.read_text("utf-8"), path)
        encoder = encoder_from_spec(
            spec_of(description, output / RUN), read_tensors(output / ENCODER)
        )
        write_run_json(output / RUN, description | {"recipe": recipe.to_dict()})
        known_words = description.get("began", {}).get("words")
        return RunStart(recipe, vocabulary, encoder, resumed=True, known_words=known_words)

    def _check_recipe(self, recipe: Recipe, old: Recipe) -> None:
        """Raise RecipeError where a resumed run would compute something else than before."""
        free = {key: getattr(recipe, key) for key in FREE_KEYS}
        now, before = recipe.to_dict(), replace(old, **free).to_dict()
        added = len(now["stages"]) - len(before["stages"])
        if added > 0 and now["stages"][:-added] == before["stages"]:
            before["stages"] = now["stages"]  # a run may get more stages
        different = [key for key in now if now[key] != before[key]]
        if different:
            raise RecipeError(
                f"{self.output}: this run was started with another '{different[0]}': resume it"
                " with its own recipe, or choose another --output"
            )

    def _data_description(self) -> dict[str, Any]:
        sources = [source for source in (self.dataset, self.rehearsal) if source]
        return {
            "layout": ", ".join(source.layout for source in sources),
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


def _save_encoder(encoder: Encoder, path: Path) -> None:
    weights = {name: w.contiguous() for name, w in encoder.weights().items()}
    try:
        save_file(weights, path, {SPEC_KEY: json.dumps(encoder.spec.to_dict())})
    except SafetensorError as error:
        raise TrainingError(f"{path}: cannot be written ({error})") from None
