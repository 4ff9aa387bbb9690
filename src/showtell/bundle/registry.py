"""Which models are here: the shipped one, pulled ones, bundle folders and training runs.

On the path of every cold start, so nothing here reaches for the network: see `pull`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from showtell.bundle import MANIFEST
from showtell.errors import BundleError, MissingExtraError
from showtell.files.folders import pulled_models_dir

DEFAULT_MODEL = "flickr8k"
MODEL_VARIABLE = "SHOWTELL_MODEL"
RUN_FILE = "run.json"  # what makes a folder a training run
ORIGIN = "origin.json"  # in a pulled model's folder: where it came from
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class InstalledModel:
    """A model that goes by name: its bundle folder, and whether it came with the package."""

    name: str
    path: Path
    shipped: bool


def shipped_models_dir() -> Path:
    """Return the package's folder of models, one bundle folder each."""
    return Path(__file__).parents[1] / "bundles"


def installed_models() -> list[InstalledModel]:
    """Return the models that go by name: the shipped ones, then the pulled ones, by name.

    A pulled model of a shipped one's name is hidden by it.
    """
    models: dict[str, InstalledModel] = {}
    for folder, shipped in ((shipped_models_dir(), True), (pulled_models_dir(), False)):
        if not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            if NAME.fullmatch(path.name) and (path / MANIFEST).is_file():
                models.setdefault(path.name, InstalledModel(path.name, path, shipped))
    return list(models.values())


def default_model() -> str:
    """Return what a command takes where no model is named: $SHOWTELL_MODEL or the shipped one."""
    return os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL


def find_bundle(model: str | Path | None = None) -> Path:
    """Return the bundle folder of `model`; its files are checked when it is loaded.

    `model` is a name (shipped or pulled), a bundle folder, or a run folder, which is exported to
    a cached bundle first. None means $SHOWTELL_MODEL or else the shipped default. A string that
    is a known name is that model, whatever folders lie about; a Path is always a folder.

    Raises BundleError where there is no such model, MissingExtraError where a run cannot be
    exported in a light install.
    """
    if model is None:
        chosen = os.environ.get(MODEL_VARIABLE)
        if not chosen:
            return _default_bundle()
        try:
            return find_bundle(chosen)
        except BundleError as error:
            raise BundleError(f"{error} (${MODEL_VARIABLE} asks for it)") from None
    if isinstance(model, str):
        for known in (shipped_models_dir() / model, pulled_models_dir() / model):
            if NAME.fullmatch(model) and (known / MANIFEST).is_file():
                return known
    folder = Path(model)
    if (folder / MANIFEST).is_file():
        return folder
    if (folder / RUN_FILE).is_file():
        return _exported(folder)
    raise BundleError(_unknown(str(model), folder))


def origin(model: InstalledModel) -> str | None:
    """Return where a pulled model came from, or None where that is not known."""
    try:
        text = json.loads((model.path / ORIGIN).read_text("utf-8"))["source"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return text if isinstance(text, str) else None


def remove_model(name: str) -> None:
    """Delete a pulled model.

    Raises BundleError where `name` is unknown or ships with the package.
    """
    model = next((model for model in installed_models() if model.name == name), None)
    if model is None:
        raise BundleError(_no_such_name(name))
    if model.shipped:
        raise BundleError(f"{name}: ships with showtell and stays: only pulled models go")
    # Out of sight in one step first: a killed removal leaves no half of a model under its name.
    grave = Path(tempfile.mkdtemp(prefix=".removed.", dir=model.path.parent))
    model.path.rename(grave / name)
    shutil.rmtree(grave)


def _default_bundle() -> Path:
    path = shipped_models_dir() / DEFAULT_MODEL
    if not (path / MANIFEST).is_file():
        raise BundleError(
            f"{path}: the shipped model is not in this installation:"
            " pip install --force-reinstall showtell, or name another model"
        )
    return path


def _exported(run: Path) -> Path:
    """Return the bundle made of a training run (made now, or found in the cache)."""
    try:
        from showtell.export.run_to_bundle import cached_bundle
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("showtell"):
            raise
        raise MissingExtraError(
            f"{run}: a training run, not yet a bundle: its export", "train"
        ) from None
    return cached_bundle(run)


def _unknown(text: str, folder: Path) -> str:
    """Return why `text` is no model: the right sentence for each way to be wrong."""
    if folder.is_dir():
        return (
            f"{text}: this folder is neither a model bundle (no {MANIFEST})"
            f" nor a training run (no {RUN_FILE})"
        )
    if folder.exists():
        return f"{text}: a file, not a model: give the bundle's folder, or pull an archive"
    if len(folder.parts) > 1 or text.startswith("."):
        return f"{text}: no such folder: give a bundle's or a run's, or one of {_names()}"
    return _no_such_name(text)


def _no_such_name(name: str) -> str:
    import difflib

    known = [model.name for model in installed_models()]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" did you mean {near[0]}?" if near else ""
    return f"no model named {name!r}:{hint} here are {_names()}; get more by showtell models pull"


def _names() -> str:
    return ", ".join(model.name for model in installed_models()) or "none"
