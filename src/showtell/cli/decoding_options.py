"""Command line options for decoding, made from the fields of `Decoding`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, get_args, get_type_hints

import click

from showtell.decoding.options import Decoding, DecodingDefaults, Strategy

F = TypeVar("F", bound=Callable[..., Any])

SAMPLING = ("seed", "temperature", "top_k", "top_p")  # only for the strategy `sample`


def decoding_options(*strategies: Strategy) -> Callable[[F], F]:
    """Give a command the decoding options for these strategies, the first being the default."""
    names = [
        field.name
        for field in dataclasses.fields(Decoding)
        if field.name not in SAMPLING or "sample" in strategies
    ]

    def decorate(command: F) -> F:
        for name in reversed(names):
            command = decoding_option(name, strategies)(command)
        return command

    return decorate


def decoding_option(name: str, strategies: tuple[Strategy, ...] = ()) -> Callable[[F], F]:
    """Give a command one decoding option, with the bounds and help of the field of `Decoding`."""
    [field] = [field for field in dataclasses.fields(Decoding) if field.name == name]
    help_text: str = field.metadata["help"]
    if name in _MODEL_DEFAULTS:
        return click.option(
            _flag(name), type=_click_type(name), help=f"{help_text}  [default: the model's own]"
        )
    return click.option(
        _flag(name),
        type=click.Choice(strategies) if name == "strategy" else _click_type(name),
        default=field.default,
        show_default=field.default is not None,
        help=help_text,
    )


_MODEL_DEFAULTS = {field.name for field in dataclasses.fields(DecodingDefaults)}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _click_type(name: str) -> click.ParamType[Any]:
    kind = get_type_hints(Decoding)[name]
    [field] = [field for field in dataclasses.fields(Decoding) if field.name == name]
    limits = field.metadata
    least = limits.get("ge", limits.get("gt"))
    most = limits.get("le")
    if float in (kind, *get_args(kind)):
        return click.FloatRange(least, most, min_open="gt" in limits)
    return click.IntRange(least, most)
