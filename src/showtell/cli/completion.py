"""Completion in the shell of names that are not files."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem


def complete_models(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the installed models, then files and folders."""
    from showtell.bundle.registry import installed_models

    return _names_then_files([model.name for model in installed_models()], incomplete)


def complete_recipes(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the shipped recipes, then files and folders."""
    return _names_then_files(recipe_names(), incomplete)


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes, without importing the extra `train`."""
    return sorted(path.stem for path in (Path(__file__).parents[1] / "recipes").glob("*.yaml"))


def _names_then_files(names: list[str], incomplete: str) -> list[CompletionItem]:
    matching = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return matching or [CompletionItem(incomplete, type="file")]
