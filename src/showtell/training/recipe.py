"""A recipe: everything that decides a training run, as checked dataclasses and commented YAML."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml

from showtell.data.feature_cache import VIEWS
from showtell.decoding.options import DecodingDefaults
from showtell.errors import RecipeError
from showtell.nets.decoder import DecoderSettings

T = TypeVar("T")


def _check(fine: bool, key: str, must: str) -> None:
    if not fine:
        raise RecipeError(f"{key}: {must}")


@dataclass(frozen=True)
class Stage:
    """One stretch of training with its own length and learning rates."""

    epochs: int
    objective: Literal["cross_entropy", "self_critical", "words"] = "cross_entropy"
    learning_rate: float = 8e-4
    train_encoder: Literal["none", "last", "all"] = "none"
    encoder_learning_rate: float = 5e-5
    encoder_step: Literal["absolute", "relative"] = "absolute"  # relative: to each weight's RMS
    final_learning_rate: float = 0.0  # the cosine ends at this share of the learning rate
    warmup: float = 0.02  # share of the stage's steps
    label_smoothing: float = 0.1
    distill: float = 0.0  # share that is learned from the decoder as the stage found it
    restart: bool = False  # draw the decoder anew, to be taught by the one found: see distill
    weight_decay: float = 0.01
    second_moment: float = 0.98  # Adam's decay of squared gradients (beta 2)
    clip: float = 1.0  # largest norm of the gradient
    crop: float = 1.0  # with the encoder: smallest share of the photo's area that a crop keeps
    flip: bool = True  # with the encoder: mirror half of the photos
    color: float = 0.0  # with the encoder: most that brightness, contrast and colour change by
    average: float = 0.0  # decay of the moving average of weights; 0: none
    interpolation: float = 1.0  # weights kept: this share of the way from the stage's beginning
    samples: int = 5  # self-critical: captions sampled for each photo
    temperature: float = 1.0  # self-critical: of the samples
    cross_entropy: float = 0.0  # self-critical: weight of the references' cross-entropy beside
    bleu: float = 0.0  # self-critical: weight of BLEU-4 beside CIDEr in the reward
    recall: float = 0.0  # self-critical: weight of METEOR's unigram F-mean in the reward
    begin_with: Literal["best", "last"] = "best"  # which checkpoint of the stage before

    def __post_init__(self) -> None:
        _check(self.epochs >= 0, "epochs", "must not be negative")
        _check(self.learning_rate > 0, "learning_rate", "must be above 0")
        _check(self.encoder_learning_rate > 0, "encoder_learning_rate", "must be above 0")
        _check(0 <= self.final_learning_rate <= 1, "final_learning_rate", "must be from 0 to 1")
        _check(0 <= self.warmup < 1, "warmup", "must be from 0 to below 1")
        _check(0 <= self.label_smoothing < 1, "label_smoothing", "must be from 0 to below 1")
        _check(0 <= self.distill <= 1, "distill", "must be from 0 to 1")
        _check(self.weight_decay >= 0, "weight_decay", "must not be negative")
        _check(0 < self.second_moment < 1, "second_moment", "must be between 0 and 1")
        _check(self.clip > 0, "clip", "must be above 0")
        _check(0 < self.crop <= 1, "crop", "must be above 0, at most 1")
        _check(0 <= self.color < 1, "color", "must be from 0 to below 1")
        _check(self.samples >= 2, "samples", "must be at least 2: each is judged by the others")
        _check(self.temperature > 0, "temperature", "must be above 0")
        for name in ("cross_entropy", "bleu", "recall"):
            _check(getattr(self, name) >= 0, name, "must not be negative")
        _check(0 <= self.average < 1, "average", "must be from 0 to below 1")
        _check(0 < self.interpolation <= 1, "interpolation", "must be above 0, at most 1")


@dataclass(frozen=True)
class Recipe:
    """A training run; the YAML files in `showtell/recipes` say what each key is good for."""

    encoder: str = "mobilenetv2"
    encoder_weights: str = "hub"  # hub, none or a file
    image_size: int = 0  # pixels; 0: as the encoder's weights want it
    init_from: str = ""  # a trained model to begin with: its networks, weights and words
    mix: str = ""  # an old dataset that is mixed into the new one
    mix_share: float = 0.5  # of the photos of an epoch
    decoder: DecoderSettings = field(default_factory=DecoderSettings)
    decoding: DecodingDefaults = field(default_factory=DecodingDefaults)
    stages: tuple[Stage, ...] = (Stage(epochs=10),)
    min_count: int = 5  # words that are rarer in training captions become <unknown>
    max_words: int = 24  # longer training captions are cut
    captions_per_photo: int = 5  # captions drawn for each photo and step
    batch_photos: int = 32  # photos a step, on all ranks together
    accumulate: int = 1  # parts of a rank's batch, one after the other: less memory, the same step
    views: tuple[str, ...] = ("plain",)  # cached features: plain, flip
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False  # torch.compile the encoder: pays on a GPU, after a minute or two
    workers: int = 0  # processes that read batches; 0: a thread, on a GPU one for each core
    dev_photos: int = 500  # the best checkpoint is chosen on that many first dev photos; 0: all
    patience: int = 0  # epochs without a better dev score before a stage ends; 0: never
    save_minutes: float = 5.0  # between two checkpoints within an epoch
    save_steps: int = 0  # the same in steps; 0: by time only
    seed: int = 0
    device: str = "auto"
    feature_cache: str = ""  # empty: showtell's cache folder

    def __post_init__(self) -> None:
        _check(bool(self.stages), "stages", "must hold at least one stage")
        for number, stage in enumerate(self.stages):
            heard = stage.train_encoder != "none" or self.decoder.evidence or self.init_from
            _check(
                stage.objective != "words" or bool(heard),
                f"stages.{number}.objective",
                "words is for the encoder or for decoder.evidence: set train_encoder or that",
            )
        _check(self.image_size >= 0, "image_size", "must not be negative")
        _check(0 < self.mix_share < 1, "mix_share", "must be between 0 and 1")
        _check(self.min_count >= 1, "min_count", "must be at least 1")
        _check(self.max_words >= 1, "max_words", "must be at least 1")
        _check(self.captions_per_photo >= 1, "captions_per_photo", "must be at least 1")
        _check(self.batch_photos >= 1, "batch_photos", "must be at least 1")
        _check(self.accumulate >= 1, "accumulate", "must be at least 1")
        _check(self.workers >= 0, "workers", "must not be negative")
        _check(self.patience >= 0, "patience", "must not be negative")
        _check(self.dev_photos >= 0, "dev_photos", "must not be negative")
        wrong = [view for view in self.views if view not in VIEWS]
        _check(not wrong, "views", f"takes {', '.join(VIEWS)}")
        _check("plain" in self.views, "views", "must hold plain")
        _check(self.seed >= 0, "seed", "must not be negative")
        _check(self.save_minutes >= 0, "save_minutes", "must not be negative")
        _check(self.save_steps >= 0, "save_steps", "must not be negative")
        decoding = self.decoding
        _check(decoding.beam >= 1, "decoding.beam", "must be at least 1")
        _check(decoding.max_length >= 1, "decoding.max_length", "must be at least 1")
        _check(decoding.length_penalty >= 0, "decoding.length_penalty", "must not be negative")
        _check(decoding.no_repeat_ngram >= 0, "decoding.no_repeat_ngram", "must not be negative")

    @property
    def learns_words(self) -> bool:
        """Whether a stage trains the encoder on the words of captions."""
        return any(stage.objective == "words" for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data, fit for YAML and JSON."""
        data = asdict(self)
        data["stages"] = [dict(stage) for stage in data["stages"]]
        data["views"] = list(data["views"])
        return data


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that come with showtell."""
    folder = files("showtell") / "recipes"
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, shipped ones by name or any YAML file, and apply `key=value` overrides.

    Keys inside others are written with dots: `decoder.hidden=256`, `stages.0.epochs=2`.
    Raises RecipeError, naming the nearest known key, on one that no recipe has.
    """
    path = Path(name)
    if str(name) in shipped_recipes():
        text = (files("showtell") / "recipes" / f"{name}.yaml").read_text("utf-8")
    elif path.suffix in (".yaml", ".yml") or path.is_file():
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: cannot be read ({error})") from None
    else:
        near = _nearest(str(name), shipped_recipes())
        raise RecipeError(
            f"recipe '{name}': neither a file nor one of {', '.join(shipped_recipes())}{near}"
        )
    try:
        data = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise RecipeError(f"{name}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(data, dict):
        raise RecipeError(f"{name}: a recipe is a list of `key: value` lines")
    data.setdefault("stages", Recipe().to_dict()["stages"])  # for overrides such as stages.0.epochs
    for override in overrides:
        _override(data, override)
    return recipe_from_dict(data)


def recipe_from_dict(data: dict[str, Any]) -> Recipe:
    """Build a recipe from plain data; raises RecipeError on unknown keys and wrong values."""
    return _build(Recipe, data, "")


def _override(data: Any, text: str) -> None:
    """Set one dotted `key=value` in plain recipe data; the value is read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RecipeError(f"'{text}': write key=value, such as batch_photos=16")
    *parents, last = key.split(".")
    place = data
    for parent in parents:
        if isinstance(place, list):
            place = place[_index(place, parent, key)]
        elif isinstance(place, dict):
            place = place.setdefault(parent, {})
    try:
        parsed = yaml.safe_load(value) if value else ""  # YAML reads nothing as null
    except yaml.YAMLError:
        parsed = value
    if isinstance(place, list):
        place[_index(place, last, key)] = parsed
    elif isinstance(place, dict):
        place[last] = parsed
    else:
        raise RecipeError(f"{key}: '{'.'.join(parents)}' holds no keys")


def _index(place: list[Any], text: str, key: str) -> int:
    if not text.isdecimal() or int(text) >= len(place):
        raise RecipeError(f"{key}: '{text}' is no place in a list of {len(place)}")
    return int(text)


def _build(kind: type[T], data: Any, where: str) -> T:
    """Build the dataclass `kind` from plain data, each value checked against its type."""
    if not isinstance(data, dict):
        raise RecipeError(f"{where.rstrip('.') or 'recipe'}: needs `key: value` lines")
    types = get_type_hints(kind)
    known = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            raise RecipeError(f"{where}{key}: no such key{_nearest(str(key), known)}")
    values = {key: _value(types[key], value, f"{where}{key}") for key, value in data.items()}
    try:
        return kind(**values)
    except (RecipeError, ValueError) as error:
        text = str(error)
        raise RecipeError(text if text.startswith(where) else f"{where}{text}") from None
    except TypeError:
        lacking = [
            item.name
            for item in fields(kind)  # type: ignore[arg-type]
            if item.name not in data and item.default is MISSING and item.default_factory is MISSING
        ]
        raise RecipeError(f"{where}{lacking[0]}: is missing") from None


def _value(kind: Any, value: Any, key: str) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        return _build(kind, value, f"{key}.")
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise RecipeError(f"{key}: '{value}' is none of {', '.join(get_args(kind))}")
        return value
    if get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)):
            raise RecipeError(f"{key}: needs a list")
        return tuple(_value(get_args(kind)[0], v, f"{key}.{i}") for i, v in enumerate(value))
    if kind is bool or isinstance(value, bool):
        if kind is bool and isinstance(value, bool):
            return value
    elif kind is str and isinstance(value, (str, int, float)):
        return str(value)
    elif kind in (int, float):
        try:  # YAML reads 8e-4 as text
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if kind is float and number == number:
            return number
        if kind is int and number.is_integer():
            return int(number)
    raise RecipeError(f"{key}: '{value}' is no {kind.__name__}")


def _nearest(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, 1, 0.4)
    return f": did you mean '{near[0]}'?" if near else f"; known are {', '.join(known)}"
