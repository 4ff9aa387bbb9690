"""The models of this machine: the shipped ones, pulled ones, and bundle folders.

Every cold start goes through here, so this module does not import anything for the network; see
`showtell.bundle.pull` for that.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from showtell.bundle.bundle import MANIFEST, load_bundle
from showtell.errors import BundleError
from showtell.files.folders import NoHomeError, pulled_models_dir, shipped_models_dir
from showtell.files.regular_files import read_regular
from showtell.language.languages import language_of

DEFAULT_MODEL = "general"
LANGUAGE_MODELS = {"en": DEFAULT_MODEL, "de": "flickr8k-de"}  # shipped, by what they write
MODEL_VARIABLE = "SHOWTELL_MODEL"
RUN_FILE = "run.json"  # a folder with this file is a training run
ORIGIN = "origin.json"  # in a pulled model's folder: its source
_LONGEST_ORIGIN = 10_000  # bytes
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class TrainingRunError(BundleError):
    """The folder `run` is a training run, not a bundle."""

    def __init__(self, run: Path) -> None:
        super().__init__(
            f"{run}: a training run, not a bundle: export it first with"
            f" `showtell export {run} -o DIR`"
        )
        self.run = run


@dataclass(frozen=True)
class InstalledModel:
    """A model that has a name: its bundle folder, and whether it ships with the package."""

    name: str
    path: Path
    shipped: bool


def _model_folders() -> list[Path]:
    """Return the folders of shipped and of pulled models; a user without a home has only one."""
    folders = [shipped_models_dir()]
    with contextlib.suppress(NoHomeError):
        folders.append(pulled_models_dir())
    return folders


def installed_models() -> list[InstalledModel]:
    """Return the models that have a name: the shipped ones, then the pulled ones, sorted by name.

    A pulled model with the name of a shipped one is left out.
    """
    models: dict[str, InstalledModel] = {}
    for folder in _model_folders():
        shipped = folder == shipped_models_dir()
        if not os.access(folder, os.R_OK):  # or it does not exist
            continue
        for path in sorted(folder.iterdir()):
            if MODEL_NAME.fullmatch(path.name) and _has_manifest(path):
                models.setdefault(path.name, InstalledModel(path.name, path, shipped))
    return list(models.values())


def default_model() -> str:
    """Return the model that is used where none is named: $SHOWTELL_MODEL or DEFAULT_MODEL."""
    return os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL


def find_bundle(model: str | Path | None = None) -> Path:
    """Return the bundle folder of `model`; its files are checked when it is loaded.

    `model` is a name (shipped or pulled) or a bundle folder. None stands for $SHOWTELL_MODEL, or
    DEFAULT_MODEL without it. A string that is a known name is that model even if a folder
    has the same name; a Path is always a folder.

    Raises BundleError where there is no such model, and TrainingRunError, which is a BundleError,
    for a training run.
    """
    if model is None:
        chosen = os.environ.get(MODEL_VARIABLE)
        if not chosen:
            return _default_bundle()
        try:
            return find_bundle(chosen)
        except TrainingRunError:
            raise
        except BundleError as error:
            raise BundleError(f"{error} (named by ${MODEL_VARIABLE})") from None
    if model == "":
        raise BundleError(f"the model's name is empty: give a folder, or one of {_known_names()}")
    if isinstance(model, str):
        for models in _model_folders():
            if MODEL_NAME.fullmatch(model) and _has_manifest(models / model):
                return models / model
    folder = Path(model)
    if (folder / MANIFEST).is_file():
        return folder
    if (folder / RUN_FILE).is_file():
        raise TrainingRunError(folder)
    raise BundleError(_why_not_a_model(str(model), folder))


def model_of_language(model: str | Path | None, language: str) -> str | Path:
    """Return `model` if it writes `language`, a BCP 47 tag; for None, the shipped one that does.

    Raises BundleError where no shipped model writes the language, or `model` another one;
    ValueError if `language` is not a tag.
    """
    code = language_of(language).code
    if model is None:
        if code not in LANGUAGE_MODELS:
            raise BundleError(
                f"language {code}: no shipped model writes it, only {', '.join(LANGUAGE_MODELS)}:"
                " train one and name it as the model"
            )
        return LANGUAGE_MODELS[code]
    written = load_bundle(find_bundle(model), verify=False).manifest.language
    if written != code:
        raise BundleError(
            f"language {code}: the model {model} writes {written}: leave out the model or the"
            " language"
        )
    return model


def origin(model: InstalledModel) -> str | None:
    """Return the source of a pulled model, or None where it is unknown."""
    try:
        source = json.loads(read_regular(model.path / ORIGIN, _LONGEST_ORIGIN))["source"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return source if isinstance(source, str) else None


def remove_model(name: str) -> None:
    """Delete a pulled model.

    Raises BundleError where `name` is unknown or ships with the package.
    """
    model = next((model for model in installed_models() if model.name == name), None)
    if model is None:
        raise BundleError(_unknown_name(name))
    if model.shipped:
        raise BundleError(f"{name}: ships with showtell; only pulled models can be removed")
    # Renamed first: if the process is killed, no half-deleted model keeps its name.
    trash = Path(tempfile.mkdtemp(prefix=".removed.", dir=model.path.parent))
    model.path.rename(trash / name)
    shutil.rmtree(trash)


def _has_manifest(folder: Path) -> bool:
    """Return whether a folder holds a manifest; one that cannot be looked into does not."""
    try:
        return (folder / MANIFEST).is_file()
    except OSError:
        return False


def _default_bundle() -> Path:
    path = shipped_models_dir() / DEFAULT_MODEL
    if not (path / MANIFEST).is_file():
        raise BundleError(
            f"{path}: the default model is not in this installation:"
            " install showtell again, or name another model"
        )
    return path


def _why_not_a_model(text: str, folder: Path) -> str:
    if folder.is_dir():
        return (
            f"{text}: this folder is neither a model bundle (no {MANIFEST})"
            f" nor a training run (no {RUN_FILE})"
        )
    if folder.exists():
        return f"{text}: a file, not a model: give the bundle's folder, or pull an archive"
    if len(folder.parts) > 1 or text.startswith("."):
        return f"{text}: no such folder: give a bundle's folder, or one of {_known_names()}"
    return _unknown_name(text)


def _unknown_name(name: str) -> str:
    import difflib

    known = [model.name for model in installed_models()]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" did you mean {near[0]}?" if near else ""
    return (
        f"no model named {name!r}:{hint} installed: {_known_names()};"
        " get more with `showtell models pull`"
    )


def _known_names() -> str:
    return ", ".join(model.name for model in installed_models()) or "none"
