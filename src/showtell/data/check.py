"""Check a captioned dataset before hours of training depend on it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from showtell.data.dataset import SPLITS, CaptionedPhoto
from showtell.data.readers.listing import DatasetFinding, DatasetListing, Severity
from showtell.data.readers.registry import read_listing, usable_photos
from showtell.data.shards.address import parse_address
from showtell.data.shards.index import ShardIndex, is_shards, open_index, read_tables
from showtell.errors import PhotoError
from showtell.files.os_errors import error_reason
from showtell.files.photo_files import SUFFIXES
from showtell.files.progress import progress_bar
from showtell.image import Preprocessing, name_of, open_photo
from showtell.language.languages import ENGLISH, Language, language_of

FREQUENT = 5  # a word must occur this often to be in the vocabulary of most published captioners
_SMALL = Preprocessing(height=16, width=16)  # JPEGs decode faster; all their bytes are read


@dataclass(frozen=True)
class CaptionLengths:
    """The number of words of captions, by the vocabulary's normalisation rule."""

    shortest: int
    median: float
    mean: float
    longest: int


@dataclass(frozen=True)
class DatasetReport:
    """The content of a dataset and the findings of its check.

    Words are counted by the rule of `language`, a BCP 47 tag.
    Photos are those of `open_dataset`: on disk and with a caption. `splits` has an entry for train,
    dev and test; official lists leave out the `unsplit` photos. `words` is the number of different
    words in all captions, `frequent_words` of those that occur at least `FREQUENT` times.
    """

    root: Path | str
    layout: str
    language: str
    photos: int
    captions: int
    splits: dict[str, int]
    splits_assigned: bool
    unsplit: int
    lengths: CaptionLengths | None
    words: int
    frequent_words: int
    findings: tuple[DatasetFinding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing needs repair: there may be warnings and notes."""
        return not any(finding.severity == "error" for finding in self.findings)


def check_dataset(
    directory: Path | str,
    *,
    language: str | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> DatasetReport:
    """Read a dataset, decode all its photos and return a report.

    The checksums of shards are compared too. `workers` is the number of threads, by default one per
    core. `progress` draws a bar on standard error if that is a terminal. Broken lines of a caption
    file are among the findings. Words are counted by the rule of `language`, a BCP 47 tag; by
    default it is the one that the dataset gives, else English.

    Raises DatasetError if the layout is unknown or a file cannot be read at all, and ValueError if
    `language` is not a tag.
    """
    workers = workers or os.cpu_count() or 1
    rules = language_of(language) if language else None
    address = parse_address(directory)
    if is_shards(address):
        return _check_shards(open_index(address), rules, workers, progress)
    listing = read_listing(Path(directory))
    photos = usable_photos(listing)
    findings = (
        *listing.broken_lines(),
        *_find_unusable(listing),
        *(finding for finding in listing.findings if finding.kind != "broken line"),
        *_find_unlisted(listing),
        *_check_photos(photos, workers, progress),
    )
    return _report(
        listing.root,
        listing.layout,
        photos,
        findings,
        rules or _language_of_dataset(listing.language),
        splits_assigned=listing.splits_assigned,
    )


def _language_of_dataset(code: str | None) -> Language:
    return language_of(code) if code else ENGLISH


def _check_shards(
    index: ShardIndex, rules: Language | None, workers: int, progress: bool
) -> DatasetReport:
    """Compare the checksums of shards, then check the photos as in other layouts."""
    broken: list[DatasetFinding] = []
    photos = read_tables(
        index,
        lambda shard, fault: broken.append(DatasetFinding("broken shard", shard.name, fault)),
        verify=True,
    )
    findings = (*broken, *_check_photos(photos, workers, progress))
    rules = rules or _language_of_dataset(index.language)
    return _report(index.address, f"{index.layout} in shards", photos, findings, rules)


def _report(
    root: Path | str,
    layout: str,
    photos: Sequence[CaptionedPhoto],
    findings: tuple[DatasetFinding, ...],
    language: Language,
    *,
    splits_assigned: bool = False,
) -> DatasetReport:
    counts = Counter(photo.split for photo in photos)
    lengths: list[int] = []
    words: Counter[str] = Counter()
    for photo in photos:
        for caption in photo.captions:
            tokens = language.words(caption)
            lengths.append(len(tokens))
            words.update(tokens)
    return DatasetReport(
        root=root,
        layout=layout,
        language=language.code,
        photos=len(photos),
        captions=len(lengths),
        splits={split: counts[split] for split in SPLITS},
        splits_assigned=splits_assigned,
        unsplit=counts[None],
        lengths=_lengths(lengths),
        words=len(words),
        frequent_words=sum(count >= FREQUENT for count in words.values()),
        findings=findings,
    )


def _lengths(lengths: list[int]) -> CaptionLengths | None:
    if not lengths:
        return None
    return CaptionLengths(min(lengths), median(lengths), fmean(lengths), max(lengths))


def _find_unusable(listing: DatasetListing) -> list[DatasetFinding]:
    """Return findings for listed photos that are not on disk or have no caption."""
    findings = []
    for photo in listing.photos.values():
        if not listing.folders.has(photo.path):
            # Flickr8k's own token file names a photo that does not exist and is in no split list.
            # Such a photo is not used for training or scores, so it needs no repair.
            severity: Severity = "error" if photo.split else "warning"
            findings.append(
                DatasetFinding("missing", photo.name, f"named in {photo.location}", severity)
            )
        elif not photo.captions:
            findings.append(
                DatasetFinding("without captions", photo.name, f"named in {photo.location}")
            )
    return findings


def _find_unlisted(listing: DatasetListing) -> list[DatasetFinding]:
    """Return findings for photos beside the captioned ones that the files do not name."""
    # Strings, because Path is slow for thousands of files. Links are not followed.
    named = {os.path.abspath(photo.path) for photo in listing.photos.values()}  # noqa: PTH100
    folders = {os.path.dirname(path) for path in named}  # noqa: PTH120
    root = os.path.abspath(listing.root)  # noqa: PTH100
    findings = []
    for folder in sorted(folders):
        if folder != root and not folder.startswith(os.path.join(root, "")):  # noqa: PTH118
            continue  # a folder outside the dataset, which may contain many other photos
        for file_name in sorted(listing.folders.names(folder)):
            path = os.path.join(folder, file_name)  # noqa: PTH118
            if path not in named and Path(file_name).suffix.lower() in SUFFIXES:
                name = os.path.relpath(path, listing.photo_folder or listing.root)
                findings.append(DatasetFinding("without captions", name, "on disk only", "note"))
    return findings


def _check_photos(
    photos: Sequence[CaptionedPhoto], workers: int, progress: bool
) -> list[DatasetFinding]:
    """Decode every photo and find duplicates by their bytes."""
    findings = []
    photos_by_hash: defaultdict[bytes, list[CaptionedPhoto]] = defaultdict(list)
    shown = None if progress else False
    bar = progress_bar(len(photos), description="decoding", shown=shown, leave=True)
    with ThreadPoolExecutor(workers) as pool, bar:
        for photo, (digest, fault) in zip(photos, pool.map(_check_photo, photos), strict=True):
            bar.update()
            if fault:
                findings.append(DatasetFinding("unreadable", photo.name, fault))
            else:
                photos_by_hash[digest].append(photo)
    groups = [group for group in photos_by_hash.values() if len(group) > 1]
    return findings + [_duplicate(group) for group in groups]


def _duplicate(group: Sequence[CaptionedPhoto]) -> DatasetFinding:
    others = ", ".join(photo.name for photo in group[1:])
    splits = [photo.split or "no split" for photo in group]
    if len(set(splits)) == 1:
        return DatasetFinding("duplicated", group[0].name, f"the same file as {others}", "note")
    detail = f"the same file as {others}, in {' and '.join(splits)}: scores are too high"
    return DatasetFinding("duplicated", group[0].name, detail, "warning")


def _check_photo(photo: CaptionedPhoto) -> tuple[bytes, str | None]:
    """Return a photo's content hash, and its fault or None."""
    try:
        data = photo.path.read_bytes()
    except OSError as error:
        return b"", error_reason(error)
    except PhotoError as error:  # a photo in a shard
        return b"", str(error)
    return hashlib.sha256(data).digest(), _decoding_fault(data)


def _decoding_fault(data: bytes) -> str | None:
    try:
        open_photo(data, preprocessing=_SMALL)
    except PhotoError as error:
        return str(error).removeprefix(f"{name_of(data)}: ")
    return None
