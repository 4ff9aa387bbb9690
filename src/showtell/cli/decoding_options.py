"""The options that say how captions are searched for, the same for every command that captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def search_options(*strategies: str) -> Callable[[F], F]:
    """Give a command the options of a search by one of these `strategies`."""
    options: Sequence[Callable[[F], F]] = (
        click.option(
            "--strategy",
            type=click.Choice(strategies),
            default="beam",
            show_default=True,
            help="mbr: of ten, the one that agrees most with the others.",
        ),
        click.option(
            "--beam", type=click.IntRange(1), help="Width of the search.  [default: the model's, 3]"
        ),
        click.option(
            "--nbest",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            help="Captions for each photo: the best and its alternatives.",
        ),
        click.option(
            "--length-penalty", type=click.FloatRange(0), help="[default: the model's, 1]"
        ),
        click.option(
            "--max-length", type=click.IntRange(1), help="Most words.  [default: the model's, 24]"
        ),
        click.option(
            "--no-repeat-ngram",
            type=click.IntRange(0),
            help="No sequence of so many words occurs twice, no word after itself."
            "  [default: the model's]",
        ),
        click.option("--groups", type=click.IntRange(1), help="Groups of --strategy diverse."),
        click.option(
            "--diversity",
            type=click.FloatRange(0),
            default=0.5,
            show_default=True,
            help="What repeating another group's word costs.",
        ),
    )

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
