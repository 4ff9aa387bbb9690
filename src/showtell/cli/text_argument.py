"""Arguments that are words, not paths: their letters are right whatever the locale."""

from __future__ import annotations

import os

import click


class _Text(click.ParamType[str]):
    """Text in UTF-8, also in a locale without such letters.

    Python hides bytes that the locale cannot decode in lone surrogates.
    """

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            try:
                return os.fsencode(value).decode()
            except UnicodeError:
                self.fail("not UTF-8 text", param, ctx)
        return value


TEXT = _Text()
