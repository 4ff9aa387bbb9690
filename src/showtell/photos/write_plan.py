"""What a run would write: for each photo which words, where, and whose words stay."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from showtell.errors import MetadataError, PhotoError
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.search import Filter, PhotoRecord, records
from showtell.photos.metadata import raw_preview
from showtell.photos.metadata.container import Layout
from showtell.photos.metadata.current_metadata import (
    Held,
    held_in_file,
    held_in_sidecar,
    sidecar_of,
)
from showtell.photos.metadata.iptc import fitting

To = Literal["sidecar", "embed"]
Verdict = Literal["sidecar", "embed", "same", "person", "failed"]
FIELDS = ("description", "alt", "iptc")
# what says the same thing: where a person wrote one of them, none of them is written
_TOGETHER = (("description", "iptc"), ("alt",))


@dataclass(frozen=True)
class Writing:
    """How words are written; see `write`."""

    to: To = "sidecar"
    fields: tuple[str, ...] = FIELDS
    overwrite: bool = False
    filters: Filter = field(default_factory=Filter)


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to one photo: `words` by field go to `target`; or the reason why none do.

    `sidecar` and `embed` are written, `same` holds them already, `person` holds a person's.
    """

    verdict: Verdict
    photo: PhotoRecord
    target: Path
    words: dict[str, str] = field(default_factory=dict)
    error: str | None = None


def plan(catalogue: Catalogue, writing: Writing) -> Iterator[Plan]:
    """Yield what would happen to each photo that is there and has words."""
    for photo in records(catalogue, writing.filters):
        yield plan_photo(catalogue, photo, writing)


def count(plans: Iterator[Plan]) -> Counter[Verdict]:
    """Count plans by their verdict."""
    return Counter(item.verdict for item in plans)


def plan_photo(catalogue: Catalogue, photo: PhotoRecord, writing: Writing) -> Plan:
    """Decide what happens to one photo, by what it and its sidecar hold now."""
    assert photo.caption is not None
    target = photo.path
    try:
        inside, layout = held_in_file(photo.path)
        sidecar = sidecar_of(photo.path)
        beside = held_in_sidecar(sidecar)
        embeds = writing.to == "embed" and can_embed(photo.path, layout)
        target = Path(os.path.realpath(photo.path if embeds else sidecar))
    except (MetadataError, PhotoError, OSError) as error:
        return Plan("failed", photo, target, error=str(error))
    wanted = _wanted(photo.caption, writing.fields, layout if embeds else None)
    if not wanted:
        return Plan("same", photo, target)
    free = wanted
    if not writing.overwrite:
        own = _own(catalogue, photo)
        free = {key: text for key, text in wanted.items() if not _foreign(key, inside, beside, own)}
        if not free:
            return Plan("person", photo, target)
    there = inside if embeds else beside
    changed = {key: text for key, text in free.items() if there.value(key) != text}
    if not changed:
        return Plan("same", photo, target)
    return Plan("embed" if embeds else "sidecar", photo, target, changed)


def can_embed(photo: Path, layout: Layout | None) -> bool:
    """Tell whether words may go into a photo: JPEG, PNG and WebP, never a raw photo."""
    return layout is not None and not raw_preview.is_raw(photo.name)


def _wanted(text: str, fields: tuple[str, ...], layout: Layout | None) -> dict[str, str]:
    """Return each field's words; `layout` is that of the photo they go into, if they do."""
    wanted = {key: text for key in fields if key != "iptc"}
    if "iptc" in fields and layout is not None and layout.format == "JPEG":
        wanted["iptc"] = fitting(text)
    return wanted


def _foreign(key: str, inside: Held, beside: Held, own: set[str]) -> bool:
    """Tell whether a person, or another program, wrote what this field says."""
    group = next(group for group in _TOGETHER if key in group)
    return bool((inside.texts(group) | beside.texts(group)) - own)


def _own(catalogue: Catalogue, photo: PhotoRecord) -> set[str]:
    """Return what showtell may have written there: its captions, and what its runs wrote."""
    rows = catalogue.rows(
        """
        SELECT text FROM captions WHERE picture_id = :picture
        UNION SELECT text FROM edits WHERE picture_id = :picture
        UNION SELECT words FROM writes JOIN files ON files.id = file_id
            WHERE picture_id = :picture AND state = 'done'
        """,
        {"picture": photo.picture},
    )
    texts = {row[0] for row in rows}
    return {" ".join(text.split()) for text in texts | {fitting(text) for text in texts}}
