"""A captioned dataset, looked through before hours of training depend on it."""

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
from showtell.vocabulary import tokenize

FREQUENT = 5  # a word must occur this often to be in the vocabulary of most published captioners
_SMALL = Preprocessing(height=16, width=16)  # JPEGs may decode small; all their bytes are read


@dataclass(frozen=True)
class CaptionLengths:
    """How many words captions have, by the vocabulary's normalisation rule."""

    shortest: int
    median: float
    mean: float
    longest: int


@dataclass(frozen=True)
class DatasetReport:
    """What a dataset holds and what is wrong with it.

    Counts are those of `open_dataset`: photos on disk that have a caption. `splits` has an entry
    for train, dev and test; `unsplit` photos are left out by official lists. `words` counts the
    different words of all captions, `frequent_words` those that occur at least `FREQUENT` times.
    """

    root: Path | str
    layout: str
    photos: int
    captions: int
    splits: dict[str, int]
    split_drawn: bool
    unsplit: int
    lengths: CaptionLengths | None
    words: int
    frequent_words: int
    findings: tuple[DatasetFinding, ...]

    @property
    def ok(self) -> bool:
        """Say whether nothing is in need of repair; warnings and notes are not."""
        return not any(finding.severity == "error" for finding in self.findings)


def check_dataset(
    directory: Path | str, *, workers: int | None = None, progress: bool = False
) -> DatasetReport:
    """Read a dataset, decode each of its photos in threads, and say what it holds.

    Of shards each one's checksum is compared too. `workers` is the number of threads, by default
    one a core; `progress` draws a bar on standard error if that is a terminal. Broken lines of a
    caption file are among the findings. Raises DatasetError where the layout is unknown or a file
    cannot be read at all.
    """
    workers = workers or os.cpu_count() or 1
    address = parse_address(directory)
    if is_shards(address):
        return _check_shards(open_index(address), workers, progress)
    listing = read_listing(Path(directory))
    photos = usable_photos(listing)
    found = (
        *listing.broken_lines(),
        *_absent(listing),
        *(finding for finding in listing.findings if finding.kind != "broken line"),
        *_uncaptioned(listing),
        *_look_at(photos, workers, progress),
    )
    return _report(listing.root, listing.layout, photos, found, split_drawn=listing.split_drawn)


def _check_shards(index: ShardIndex, workers: int, progress: bool) -> DatasetReport:
    """Look through shards: each against its checksum, then the photos as if they were loose."""
    broken: list[DatasetFinding] = []
    photos = read_tables(
        index,
        lambda shard, fault: broken.append(DatasetFinding("broken shard", shard.name, fault)),
        whole=True,
    )
    found = (*broken, *_look_at(photos, workers, progress))
    return _report(index.address, f"{index.layout} in shards", photos, found)


def _report(
    root: Path | str,
    layout: str,
    photos: Sequence[CaptionedPhoto],
    findings: tuple[DatasetFinding, ...],
    *,
    split_drawn: bool = False,
) -> DatasetReport:
    counts = Counter(photo.split for photo in photos)
    lengths: list[int] = []
    words: Counter[str] = Counter()
    for photo in photos:
        for caption in photo.captions:
            tokens = tokenize(caption)
            lengths.append(len(tokens))
            words.update(tokens)
    return DatasetReport(
        root=root,
        layout=layout,
        photos=len(photos),
        captions=len(lengths),
        splits={split: counts[split] for split in SPLITS},
        split_drawn=split_drawn,
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


def _absent(listing: DatasetListing) -> list[DatasetFinding]:
    """Find photos that the files name and that are not there, or have nothing said of them."""
    findings = []
    for photo in listing.photos.values():
        if not listing.folders.has(photo.path):
            # Flickr8k's own token file speaks of a photo that was never there, in none of its
            # lists: nothing is trained or scored on such, so there is nothing to repair.
            severity: Severity = "error" if photo.split else "warning"
            findings.append(
                DatasetFinding("missing", photo.name, f"named in {photo.location}", severity)
            )
        elif not photo.captions:
            findings.append(
                DatasetFinding("without captions", photo.name, f"named in {photo.location}")
            )
    return findings


def _uncaptioned(listing: DatasetListing) -> list[DatasetFinding]:
    """Find photos on disk, beside captioned ones, that the files do not name."""
    # Strings, since Path is slow by thousands; links are not followed, as in the files.
    named = {os.path.abspath(photo.path) for photo in listing.photos.values()}  # noqa: PTH100
    folders = {os.path.dirname(path) for path in named}  # noqa: PTH120
    root = os.path.abspath(listing.root)  # noqa: PTH100
    findings = []
    for folder in sorted(folders):
        if folder != root and not folder.startswith(os.path.join(root, "")):  # noqa: PTH118
            continue  # somebody's picture folder, of which the dataset uses a few
        for name in sorted(listing.folders.names(folder)):
            path = os.path.join(folder, name)  # noqa: PTH118
            if path not in named and Path(name).suffix.lower() in SUFFIXES:
                shown = os.path.relpath(path, listing.photo_folder or listing.root)
                findings.append(DatasetFinding("without captions", shown, "on disk only", "note"))
    return findings


def _look_at(
    photos: Sequence[CaptionedPhoto], workers: int, progress: bool
) -> list[DatasetFinding]:
    """Decode every photo and compare the bytes of all."""
    findings = []
    same: defaultdict[bytes, list[CaptionedPhoto]] = defaultdict(list)
    shown = None if progress else False
    bar = progress_bar(len(photos), description="decoding", shown=shown, leave=True)
    with ThreadPoolExecutor(workers) as pool, bar:
        for photo, (digest, fault) in zip(photos, pool.map(_look, photos), strict=True):
            bar.update()
            if fault:
                findings.append(DatasetFinding("unreadable", photo.name, fault))
            else:
                same[digest].append(photo)
    return findings + [_duplicate(group) for group in same.values() if len(group) > 1]


def _duplicate(group: Sequence[CaptionedPhoto]) -> DatasetFinding:
    others = ", ".join(photo.name for photo in group[1:])
    splits = [photo.split or "no split" for photo in group]
    if len(set(splits)) == 1:
        return DatasetFinding("duplicated", group[0].name, f"the same file as {others}", "note")
    detail = f"the same file as {others}, in {' and '.join(splits)}: scores flatter"
    return DatasetFinding("duplicated", group[0].name, detail, "warning")


def _look(photo: CaptionedPhoto) -> tuple[bytes, str | None]:
    """Return a photo's content hash and what is wrong with it, if anything."""
    try:
        data = photo.path.read_bytes()
    except OSError as error:
        return b"", error_reason(error)
    except PhotoError as error:  # of one in a shard
        return b"", str(error)
    return hashlib.sha256(data).digest(), _fault(data)


def _fault(data: bytes) -> str | None:
    try:
        open_photo(data, preprocessing=_SMALL)
    except PhotoError as error:
        return str(error).removeprefix(f"{name_of(data)}: ")
    return None
