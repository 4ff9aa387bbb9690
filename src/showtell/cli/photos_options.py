"""Options that several `showtell photos` commands have."""

from __future__ import annotations

from pathlib import Path

import click

existing_path = click.Path(exists=True, path_type=Path)
catalogue_option = click.option(
    "--catalogue",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The catalogue file.  [default: showtell/photos.sqlite in your data folder]",
)
max_confidence_option = click.option(
    "--max-confidence",
    type=click.FloatRange(0, 1),
    help="Only captions with this confidence or a lower one, for review; none of your own.",
)
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
