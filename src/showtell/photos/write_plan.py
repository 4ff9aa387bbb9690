"""Plan a write: what each photo gets and where, and which photos are skipped."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from showtell.decoding.confidence import GUESS_BELOW
from showtell.decoding.keywords import SURE
from showtell.errors import CatalogueError, MetadataError, PhotoError
from showtell.files.printable_names import printable
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.filters import PhotoFilter
from showtell.photos.catalogue.journal import WrittenKeywords, written_keywords
from showtell.photos.catalogue.records import PhotoRecord, photo_records
from showtell.photos.keyword_plan import KeywordPlan, plan_keywords
from showtell.photos.metadata.container import Container
from showtell.photos.metadata.current_metadata import (
    CurrentMetadata,
    read_file_metadata,
    read_sidecar_metadata,
)
from showtell.photos.metadata.field_values import (
    IPTC,
    IPTC_KEYWORDS,
    KEYWORDS,
    FieldValue,
    FieldValues,
)
from showtell.photos.metadata.iptc import truncate_caption
from showtell.photos.metadata.sidecar import shared_sidecars, sidecar_path, sidecar_paths
from showtell.photos.photo_names import is_raw_name
from showtell.photos.replace import failure_message

Destination = Literal["sidecar", "embed"]
Verdict = Literal["sidecar", "embed", "up_to_date", "user_edited", "unsure", "failed"]
FIELDS = ("description", "alt", IPTC, KEYWORDS)
# If a person wrote one field of a group, no field of the group is written.
_EQUIVALENT_FIELDS = (("description", "iptc"), ("alt",))


@dataclass(frozen=True)
class WriteOptions:
    """What to write, and to sidecars or photos: see `showtell photos write --help`.

    Captions with a confidence under `min_confidence` are not written; a caption without one is.
    Keywords with a probability under `min_probability` are not written.
    """

    to: Destination = "sidecar"
    fields: tuple[str, ...] = FIELDS
    overwrite: bool = False
    min_confidence: float = GUESS_BELOW
    min_probability: float = SURE
    filters: PhotoFilter = field(default_factory=PhotoFilter)


@dataclass(frozen=True, slots=True)
class WritePlan:
    """What happens to one photo: `values` by field go to `target`, or `error` says why it fails.

    `sidecar` and `embed` are written. `up_to_date` has the values already. `user_edited` has texts
    by a person or another program. `unsure` is a caption under the least confidence. `keywords`
    are what the journal remembers of the keywords in `target`; None if they do not change. `kept`
    are the text fields that stay as a person or another program wrote them.
    """

    verdict: Verdict
    photo: PhotoRecord
    target: Path
    values: FieldValues = field(default_factory=dict)
    keywords: WrittenKeywords | None = None
    error: str | None = None
    kept: tuple[str, ...] = ()

    @property
    def writes(self) -> bool:
        """Whether a file is written."""
        return self.verdict in ("sidecar", "embed")

    @property
    def caption(self) -> str | None:
        """The caption that is written, or None."""
        texts = (value for value in self.values.values() if isinstance(value, str))
        return next(texts, None)

    @property
    def keyword_list(self) -> tuple[str, ...] | None:
        """All keywords that a list in the target has afterwards; None if none changes."""
        lists = (value for value in self.values.values() if isinstance(value, tuple))
        return next(lists, None)


@dataclass
class PlanCounts:
    """Counts of plans by their verdict, and of the captions under a confidence of 0.3.

    `guesses` are all of these captions, `guesses_to_write` those that will be written. `keywords`
    counts the photos whose keywords will change, `kept` the photos of which a field is kept.
    """

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    keywords: int = 0
    guesses: int = 0
    guesses_to_write: int = 0
    kept: Counter[str] = field(default_factory=Counter)

    def add(self, plan: WritePlan) -> None:
        """Count one more plan."""
        self.verdicts[plan.verdict] += 1
        self.kept.update(plan.kept)
        is_guess = is_below(plan.photo, GUESS_BELOW)
        self.guesses += is_guess
        self.guesses_to_write += is_guess and plan.caption is not None
        self.keywords += plan.keyword_list is not None


def plan_writes(catalogue: Catalogue, options: WriteOptions) -> Iterator[WritePlan]:
    """Yield what would happen to each photo that is present and has a caption."""
    planned: dict[Path, FieldValues] = {}
    for photo in photo_records(catalogue, options.filters):
        yield without_repetition(plan_photo(catalogue, photo, options), planned)


def without_repetition(plan: WritePlan, planned: dict[Path, FieldValues]) -> WritePlan:
    """Return a plan as up to date if an earlier one of the run writes its values to its target.

    So it is if a photo and a link to it are both in the library. `planned` has the values by target
    and is updated.
    """
    if not plan.writes or planned.setdefault(plan.target, plan.values) is plan.values:
        return plan
    if planned[plan.target] != plan.values:
        return plan
    return replace(plan, verdict="up_to_date", values={}, keywords=None)


def count_plans(plans: Iterable[WritePlan]) -> PlanCounts:
    """Count plans."""
    counts = PlanCounts()
    for plan in plans:
        counts.add(plan)
    return counts


def is_below(photo: PhotoRecord, confidence: float) -> bool:
    """Return whether the confidence of a photo's caption is lower; without one it is not."""
    return photo.confidence is not None and photo.confidence < confidence


def plan_photo(catalogue: Catalogue, photo: PhotoRecord, options: WriteOptions) -> WritePlan:
    """Decide what happens to one photo, from what it and its sidecar contain now.

    Raises CatalogueError if the catalogue cannot be read; any other error is the photo's failure.
    """
    try:
        if is_below(photo, options.min_confidence) and not _may_change_keywords(
            catalogue, photo, options
        ):
            return WritePlan("unsure", photo, photo.path)
        return _plan_photo(catalogue, photo, options)
    except CatalogueError:
        raise
    except Exception as error:  # one photo must not end a run of 50,000
        return WritePlan("failed", photo, photo.path, error=failure_message(photo.path, error))


def _plan_photo(catalogue: Catalogue, photo: PhotoRecord, options: WriteOptions) -> WritePlan:
    target = photo.path
    try:
        metadata = _read_metadata(photo.path)
        embeds = options.to == "embed" and can_embed(photo.path, metadata.container)
        target = (
            Path(os.path.realpath(photo.path))
            if embeds
            else _sidecar_target(catalogue, metadata.sidecar)
        )
    except (MetadataError, PhotoError, OSError) as error:
        return WritePlan("failed", photo, target, error=str(error))
    unread = metadata.embedded.unread
    if unread and not options.overwrite:
        message = f"{printable(os.fspath(photo.path))}: {unread}: left unchanged"
        return WritePlan("failed", photo, target, error=message)
    verdict, values, kept = _plan_caption(catalogue, photo, options, metadata, embeds=embeds)
    keywords = None
    if KEYWORDS in options.fields and not unread:
        plan = _plan_keywords(catalogue, photo, options, metadata, embeds=embeds)
        values.update(plan.lists)
        keywords = plan.written
    if values:
        verdict = "embed" if embeds else "sidecar"
    return WritePlan(verdict, photo, target, values, keywords, kept=kept)


@dataclass(frozen=True, slots=True)
class _Metadata:
    """What a photo and its sidecars contain: `sidecar` is the path of the one to write."""

    container: Container | None
    embedded: CurrentMetadata
    sidecar: Path
    in_sidecar: CurrentMetadata
    in_other_sidecars: tuple[CurrentMetadata, ...]


def _read_metadata(photo: Path) -> _Metadata:
    embedded, container = read_file_metadata(photo)
    sidecar = sidecar_path(photo)
    others = (*sidecar_paths(photo)[1:], *shared_sidecars(photo))
    return _Metadata(
        container,
        embedded,
        sidecar,
        read_sidecar_metadata(sidecar),
        tuple(read_sidecar_metadata(path) for path in others),
    )


def _plan_caption(
    catalogue: Catalogue,
    photo: PhotoRecord,
    options: WriteOptions,
    metadata: _Metadata,
    *,
    embeds: bool,
) -> tuple[Verdict, dict[str, FieldValue], tuple[str, ...]]:
    """Return the verdict if there is nothing else to write, the texts to write, and fields kept."""
    assert photo.caption is not None
    if is_below(photo, options.min_confidence):
        return "unsure", {}, ()
    texts = _field_texts(photo.caption, options.fields, metadata.container if embeds else None)
    kept: tuple[str, ...] = ()
    if not options.overwrite and texts:
        sources = (metadata.embedded, metadata.in_sidecar, *metadata.in_other_sidecars)
        by_showtell = _texts_by_showtell(catalogue, photo)
        kept = tuple(key for key in texts if _has_other_text(key, sources, by_showtell))
        texts = {key: text for key, text in texts.items() if key not in kept}
        if not texts:
            return "user_edited", {}, kept
    current = metadata.embedded if embeds else metadata.in_sidecar
    changed: dict[str, FieldValue] = {
        key: text for key, text in texts.items() if current.value(key) != text
    }
    return "up_to_date", changed, kept


def _plan_keywords(
    catalogue: Catalogue,
    photo: PhotoRecord,
    options: WriteOptions,
    metadata: _Metadata,
    *,
    embeds: bool,
) -> KeywordPlan:
    """Return how the photo's probable keywords join those in it or in its sidecar."""
    embedded = metadata.embedded
    in_photo, in_sidecar = written_keywords(catalogue, photo.file_id)
    by_person = [
        word
        for word in (*embedded.keywords, *embedded.iptc.keywords, *embedded.other_keywords)
        if word not in in_photo.words
    ]
    if not embeds:
        lists, earlier = {KEYWORDS: metadata.in_sidecar.keywords}, in_sidecar
    else:
        lists, earlier = {KEYWORDS: embedded.keywords}, in_photo
        if IPTC in options.fields and _takes_iptc(metadata.container):
            lists[IPTC_KEYWORDS] = embedded.iptc.keywords
    return plan_keywords(
        lists,
        _probable_keywords(photo, options),
        earlier,
        by_person,
        restore_removed=options.overwrite,
    )


def _probable_keywords(photo: PhotoRecord, options: WriteOptions) -> list[str]:
    return [item.word for item in photo.keywords if item.probability >= options.min_probability]


def _may_change_keywords(catalogue: Catalogue, photo: PhotoRecord, options: WriteOptions) -> bool:
    """Return whether there are keywords to write or to remove, without opening the photo."""
    if KEYWORDS not in options.fields:
        return False
    written = written_keywords(catalogue, photo.file_id)
    return any(earlier.words for earlier in written) or bool(_probable_keywords(photo, options))


def can_embed(photo: Path, container: Container | None) -> bool:
    """Return whether texts can be embedded: in a JPEG, PNG or WebP, but never in a raw photo."""
    return container is not None and not is_raw_name(photo.name)


def _sidecar_target(catalogue: Catalogue, sidecar: Path) -> Path:
    """Return the file to write for a sidecar, which may be a link to another one.

    Raises MetadataError for a link to a missing file, or out of the scanned folders.
    """
    target = Path(os.path.realpath(sidecar))
    if not sidecar.is_symlink():
        return target
    name, destination = printable(os.fspath(sidecar)), printable(os.fspath(target))
    if not target.exists():
        raise MetadataError(f"{name}: a link to {destination}, which does not exist")
    folder = os.fsencode(target.parent)
    if catalogue.row("SELECT 1 FROM folders WHERE path = ?", (folder,)) is None:
        raise MetadataError(
            f"{name}: a link to {destination}, which is not in a scanned folder: left unchanged"
        )
    return target


def _field_texts(
    caption: str, fields: tuple[str, ...], container: Container | None
) -> dict[str, str]:
    """Return each field's text; `container` is the photo's if the texts are to be embedded."""
    texts = {key: caption for key in fields if key not in (IPTC, KEYWORDS)}
    if IPTC in fields and _takes_iptc(container):
        texts[IPTC] = truncate_caption(caption)
    return texts


def _takes_iptc(container: Container | None) -> bool:
    return container is not None and container.format == "JPEG"


def _has_other_text(key: str, sources: tuple[CurrentMetadata, ...], by_showtell: set[str]) -> bool:
    """Return whether a person or another program wrote a text in this field's group."""
    group = next(group for group in _EQUIVALENT_FIELDS if key in group)
    return any(metadata.texts(group) - by_showtell for metadata in sources)


def _texts_by_showtell(catalogue: Catalogue, photo: PhotoRecord) -> set[str]:
    """Return the texts that showtell may have written: captions, edits and texts of past runs."""
    rows = catalogue.rows(
        """
        SELECT text FROM captions WHERE picture_id = :picture
        UNION SELECT text FROM edits WHERE picture_id = :picture
        UNION SELECT caption FROM writes JOIN files ON files.id = file_id
            WHERE picture_id = :picture AND state = 'done'
        """,
        {"picture": photo.picture_id},
    )
    texts = {row[0] for row in rows}
    return {" ".join(text.split()) for text in texts | {truncate_caption(text) for text in texts}}
