"""The `showtell photos` commands: scan, search, write, undo, edit, export and import."""

from __future__ import annotations

import click

from showtell.cli.photos_corrections import edit_command, export_command, import_command
from showtell.cli.photos_scan import scan_command
from showtell.cli.photos_search import search_command
from showtell.cli.photos_write import undo_command, write_command


@click.group()
def photos() -> None:
    """Catalogue, search and tag a photo library.

    Scan a library once, find photos by words, and save the captions with the photos: in XMP
    sidecar files or in the photos themselves. Nothing leaves this computer.

    \b
    showtell photos scan ~/Pictures
    showtell photos search dog running on a beach
    showtell photos write ~/Pictures
    """


for _command in (
    scan_command,
    search_command,
    write_command,
    undo_command,
    edit_command,
    export_command,
    import_command,
):
    photos.add_command(_command)
