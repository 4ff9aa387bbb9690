"""The option --language: a BCP 47 tag."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def language_option(help_text: str) -> Callable[[Any], Any]:
    """Return the option --language with a help text."""
    return click.option("--language", metavar="TAG", callback=_check, help=help_text)


def _check(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    from showtell.language.languages import language_of

    try:
        return language_of(value).code if value else None
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from None
