"""The option `--model`, and models that are training runs."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from showtell.cli.completion import complete_models
from showtell.cli.language_option import language_option
from showtell.errors import MissingExtraError

F = TypeVar("F", bound=Callable[..., Any])
_HELP = (
    "A model's name, a bundle folder or a training run."
    "  [default: the model marked * by `showtell models`]"
)
_LANGUAGE_HELP = (
    "The captions' language, such as de: without --model, the shipped model that writes it."
)


def model_option(text: str = _HELP, *, short: bool = True) -> Callable[[F], F]:
    """Give a command the option `--model`, `-m` for short, with `text` as its help."""
    names = ("-m", "--model") if short else ("--model",)
    return click.option(*names, help=text, shell_complete=complete_models)


def model_and_language_options(command: F) -> F:
    """Give a command the options `--model` and `--language`; it gets the chosen `model` only."""

    @functools.wraps(command)
    def with_chosen_model(*arguments: Any, language: str | None, **options: Any) -> Any:
        if language is not None:
            options["model"] = _model_of_language(options["model"], language)
        return command(*arguments, **options)

    return cast("F", model_option()(language_option(_LANGUAGE_HELP)(with_chosen_model)))


def _model_of_language(model: str | None, language: str) -> str:
    from showtell.bundle.registry import model_of_language

    return os.fspath(model_of_language(model and resolve_model(model), language))


def resolve_model(model: str | None) -> str | None:
    """Return `model`, or the exported bundle's folder if `model` is a training run.

    None stands for $SHOWTELL_MODEL, which may be a run too. A run is exported once; the bundle
    is kept in the cache folder until the run trains on.

    Raises BundleError where there is no such model, MissingExtraError where it is a run and the
    extra `train` is not installed, and the errors of `showtell.export`.
    """
    from showtell.bundle.registry import TrainingRunError, find_bundle

    try:
        find_bundle(model)
    except TrainingRunError as error:
        return os.fspath(_exported(error.run))
    return model


def _exported(run: Path) -> Path:
    try:
        from showtell.export import cached_bundle
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("showtell"):
            raise
        raise MissingExtraError(
            f"{run}: a training run, not yet a bundle: its export", "train"
        ) from None
    return cached_bundle(run)
