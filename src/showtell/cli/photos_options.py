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
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
