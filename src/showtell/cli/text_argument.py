"""Arguments that are words, not paths: their letters are right whatever the locale."""

from __future__ import annotations

import os

import click


def text(value: str) -> str:
    """Return words as UTF-8 has them, also in a locale without such letters.

    Python hides bytes that the locale cannot decode in lone surrogates. Raises BadParameter where
    the bytes are not UTF-8.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        try:
            return os.fsencode(value).decode()
        except UnicodeError:
            raise click.BadParameter("not UTF-8 text") from None
    return value


TEXT = click.types.FuncParamType(text)
