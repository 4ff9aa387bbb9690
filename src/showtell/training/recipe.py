"""A recipe: every setting of a training run, as checked dataclasses and commented YAML files."""

from __future__ import annotations

import dataclasses
import difflib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml

from showtell.data.feature_cache import VIEWS
from showtell.decoding.options import DecodingDefaults
from showtell.errors import RecipeError
from showtell.files.os_errors import error_reason
from showtell.files.plain_data import parse_yaml
from showtell.files.regular_files import read_regular
from showtell.files.typed_settings import check_limits, load_settings
from showtell.language.languages import language_of
from showtell.nets.decoder import DecoderSettings

logger = logging.getLogger(__name__)

_MAX_BYTES = 1 << 20  # of a recipe


def _setting(
    default: Any, *, old: str = "", old_values: dict[str, str] | None = None, **limits: float
) -> Any:
    """Declare a key; `old` is its name in earlier versions. See `files/typed_settings.py`."""
    metadata: dict[str, Any] = {**limits}
    if old:
        metadata["old_names"] = (old,)
    if old_values:
        metadata["old_values"] = old_values
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Stage:
    """One part of a training run, with its own objective, length and learning rates."""

    epochs: int = field(metadata={"ge": 0})
    objective: Literal["cross_entropy", "self_critical", "concepts"] = _setting(
        "cross_entropy", old_values={"words": "concepts"}
    )
    learning_rate: float = _setting(8e-4, gt=0)
    train_encoder: Literal["none", "last", "all"] = "none"
    encoder_learning_rate: float = _setting(5e-5, gt=0)
    # relative: the encoder's learning rate is a share of each weight's root mean square
    encoder_step: Literal["absolute", "relative"] = "absolute"
    # share of the learning rate at which the cosine schedule ends
    final_learning_rate: float = _setting(0.0, ge=0, le=1)
    warmup: float = _setting(0.02, ge=0, lt=1)  # share of the stage's steps
    label_smoothing: float = _setting(0.1, ge=0, lt=1)
    # share of the target that comes from the decoder as it was before the stage
    distill: float = _setting(0.0, ge=0, le=1)
    # start with new random decoder weights; with `distill`, the old decoder teaches the new one
    reinit_decoder: bool = _setting(False, old="restart")
    weight_decay: float = _setting(0.01, ge=0)
    adam_beta2: float = _setting(0.98, old="second_moment", gt=0, lt=1)
    clip: float = _setting(1.0, gt=0)  # maximum norm of the gradient
    # augmentation, only where the encoder is trained
    min_crop_area: float = _setting(1.0, old="crop", gt=0, le=1)  # share of the photo's area
    flip: bool = True  # mirror half of the photos
    # maximum relative change of brightness, contrast and colour
    color_jitter: float = _setting(0.0, old="color", ge=0, lt=1)
    average: float = _setting(0.0, ge=0, lt=1)  # decay of the moving average of weights; 0: none
    # kept weights: this share of the way from the stage's first weights to its last
    interpolation: float = _setting(1.0, gt=0, le=1)
    # self-critical training
    samples: int = _setting(5, ge=2)  # per photo; each is judged against the others
    temperature: float = _setting(1.0, gt=0)  # of sampling
    cross_entropy: float = _setting(0.0, ge=0)  # weight of the references' cross-entropy
    bleu: float = _setting(0.0, ge=0)  # weight of BLEU-4 in the reward, next to CIDEr
    recall: float = _setting(0.0, ge=0)  # weight of METEOR's unigram F-mean in the reward
    # the checkpoint of the previous stage that this stage starts from
    init_checkpoint: Literal["best", "last"] = _setting("best", old="begin_with")

    def __post_init__(self) -> None:
        check_limits(self, RecipeError)


@dataclass(frozen=True)
class Recipe:
    """A training run. The YAML files in `showtell/recipes` explain the keys in use."""

    encoder: str = "mobilenetv2"
    encoder_weights: str = "hub"  # hub, none or a file
    image_size: int = _setting(0, ge=0)  # pixels; 0: the size that belongs to the weights
    # of the captions, a BCP 47 tag such as de; empty: what the dataset says, else English
    language: str = ""
    # a trained model that gives its encoder, decoder, weights and vocabulary
    init_from: str = ""
    # a trained model that gives its encoder only, for a new decoder and vocabulary
    encoder_from: str = ""
    # an earlier dataset: each epoch repeats some of its photos, so that the model forgets less
    rehearsal: str = _setting("", old="mix")
    # share of the earlier photos in an epoch
    rehearsal_share: float = _setting(0.5, old="mix_share", gt=0, lt=1)
    decoder: DecoderSettings = field(default_factory=DecoderSettings)
    decoding: DecodingDefaults = field(default_factory=DecodingDefaults)
    stages: tuple[Stage, ...] = (Stage(epochs=10),)
    # for a quick look: only this many photos of each split, the first ones; 0: all
    limit: int = _setting(0, ge=0)
    min_count: int = _setting(5, ge=1)  # rarer words of the training captions become <unknown>
    max_words: int = _setting(24, ge=1)  # longer training captions are cut
    captions_per_photo: int = _setting(5, ge=1)  # captions per photo and step, if one has so many
    batch_photos: int = _setting(32, ge=1)  # photos per step, over all ranks
    # an epoch repeats the photos until it has at least this many steps
    min_epoch_steps: int = _setting(0, ge=0)
    # cut each rank's batch into this many parts: less memory, the same step
    accumulate: int = _setting(1, ge=1)
    views: tuple[str, ...] = ("plain",)  # cached features: plain, flip
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False  # torch.compile the encoder: pays off on a GPU after a minute or two
    # processes that prepare batches; 0: one thread, or on a GPU one process per core
    workers: int = _setting(0, ge=0)
    # the best checkpoint is chosen on this many dev photos, the first ones; 0: all
    dev_photos: int = _setting(500, ge=0)
    # with fewer dev photos the last epoch is kept, because a few captions cannot tell which is best
    min_dev_photos: int = _setting(30, ge=0)
    patience: int = _setting(0, ge=0)  # a stage ends after this many epochs without gain; 0: never
    save_minutes: float = _setting(5.0, ge=0)  # within an epoch; 0: after every step
    save_steps: int = _setting(0, ge=0)  # the same in steps; 0: by time only
    seed: int = _setting(0, ge=0)
    device: str = "auto"
    feature_cache: str = ""  # empty: showtell's cache folder

    def __post_init__(self) -> None:
        check_limits(self, RecipeError)
        if not self.stages:
            raise RecipeError("stages: must hold at least one stage")
        for number, stage in enumerate(self.stages):
            used = stage.train_encoder != "none" or self.decoder.concept_weight or self.init_from
            if stage.objective == "concepts" and not used:
                raise RecipeError(
                    f"stages.{number}.objective: concepts train the encoder or the concept head:"
                    " set train_encoder or decoder.concept_weight"
                )
        if self.language:
            try:
                language_of(self.language)
            except ValueError as error:
                raise RecipeError(f"language: {error}") from None
        if self.init_from and self.encoder_from:
            raise RecipeError("encoder_from: init_from gives the encoder too: remove one of them")
        if any(view not in VIEWS for view in self.views):
            raise RecipeError(f"views: each must be one of {', '.join(VIEWS)}")
        if "plain" not in self.views:
            raise RecipeError("views: must hold plain")

    @property
    def learns_concepts(self) -> bool:
        """Whether a stage trains on the concepts of captions."""
        return any(stage.objective == "concepts" for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data for YAML and JSON."""
        data = asdict(self)
        data["stages"] = [dict(stage) for stage in data["stages"]]
        data["views"] = list(data["views"])
        return data


def shipped_recipes() -> list[str]:
    """Return the names of the recipes in the package."""
    folder = files("showtell") / "recipes"
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, a shipped one by name or a YAML file, and apply `key=value` overrides.

    Dots reach nested keys: `decoder.hidden=256`, `stages.0.epochs=2`. Keys of earlier versions
    are read with a warning. Raises RecipeError, naming file and key, on a missing file, an unknown
    key or a wrong value.
    """
    data = parse_yaml(_recipe_text(name), error=RecipeError, source=name) or {}
    if not isinstance(data, dict):
        raise RecipeError(
            f"{name}: a recipe must be a mapping of keys to values (`encoder: mobilenetv2`)"
        )
    data.setdefault("stages", Recipe().to_dict()["stages"])  # for overrides such as stages.0.epochs
    for override in overrides:
        _override(data, override)
    return recipe_from_dict(data, name)


def recipe_from_dict(data: dict[str, Any], source: str | Path = "recipe") -> Recipe:
    """Build a recipe from plain data; `source` is the file that errors name.

    Raises RecipeError on an unknown key or a wrong value.
    """
    return load_settings(Recipe, data, error=RecipeError, source=source, from_yaml=True)


def _recipe_text(name: str | Path) -> str:
    path = Path(name)
    if str(name) in shipped_recipes():
        return (files("showtell") / "recipes" / f"{name}.yaml").read_text("utf-8")
    if path.suffix not in (".yaml", ".yml") and not path.is_file():
        nearest = difflib.get_close_matches(str(name), shipped_recipes(), 1, 0.4)
        hint = f": did you mean '{nearest[0]}'?" if nearest else ""
        known = ", ".join(shipped_recipes())
        raise RecipeError(f"recipe '{name}': neither a file nor one of {known}{hint}")
    try:
        return read_regular(path, _MAX_BYTES, or_pipe=True).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read ({error_reason(error)})") from None


def _override(data: Any, text: str) -> None:
    """Set one dotted `key=value` in plain recipe data; the value is read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RecipeError(f"'{text}': write key=value, such as batch_photos=16")
    *parents, last = _current_key(key).split(".")
    target = data
    for parent in parents:
        if isinstance(target, list):
            target = target[_index(target, parent, key)]
        elif isinstance(target, dict):
            target = target.setdefault(parent, {})
    try:
        parsed = yaml.safe_load(value) if value else ""  # YAML reads an empty value as null
    except yaml.YAMLError:
        parsed = value
    if isinstance(target, list):
        target[_index(target, last, key)] = parsed
    elif isinstance(target, dict):
        target[last] = parsed
    else:
        raise RecipeError(f"{key}: '{'.'.join(parents)}' is a value without keys")


def _index(items: list[Any], text: str, key: str) -> int:
    if not text.isdecimal() or int(text) >= len(items):
        raise RecipeError(f"{key}: '{text}' is not an index of a list of {len(items)}")
    return int(text)


def _current_key(key: str) -> str:
    """Return an override's dotted key by its current name; warns where the key has an old one.

    A recipe file that uses the new name and an override that uses the old one set the same key.
    """
    *parents, last = key.split(".")
    settings = {"": Recipe, "stages": Stage, "decoder": DecoderSettings}.get(".".join(parents[:1]))
    for item in dataclasses.fields(settings) if settings else ():
        if last in item.metadata.get("old_names", ()):
            logger.warning("'%s' is now called '%s'", key, item.name)
            return ".".join([*parents, item.name])
    return key
