"""Fetch a captioned dataset: download, check, unpack and remove its archives.

Unfinished files are in `.download` in the dataset's folder, and an interrupted fetch resumes from
them. `.showtell-download.json` records the archives that are done, with address, size and sha256.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from showtell.data.download.first_use import check_first_seen
from showtell.data.download.sources import Archive, DatasetSource
from showtell.errors import DatasetError
from showtell.files.archives import ArchiveError, unpack
from showtell.files.atomic_write import atomic_write_text
from showtell.files.download import DownloadError, download
from showtell.files.locks import only_process

logger = logging.getLogger(__name__)

RECORD = ".showtell-download.json"
WORK = ".download"
_SIZE_TOLERANCE = 3  # an archive and its content may be this many times as large as stated


@dataclass(frozen=True)
class FetchOptions:
    """Options of a fetch; `timeout`, `pause` and `progress` are those of `download`."""

    mirror: str | None = None  # an address with the archives by name, which is tried first
    timeout: float = 30.0
    pause: float = 1.0
    attempts: int = 3  # per address, in a row without a new byte
    progress: bool | None = None


@dataclass(frozen=True)
class FetchPlan:
    """The archives to fetch into a folder, and those that the user already has."""

    source: DatasetSource
    directory: Path
    todo: tuple[Archive, ...]
    given: dict[str, str]  # archive name -> file or address

    def download_bytes(self) -> int:
        """Return the approximate size of the download in bytes."""
        return sum(archive.bytes for archive in self.todo if not self._is_local(archive))

    def final_bytes(self) -> int:
        """Return the approximate size on disk of the unpacked dataset."""
        return sum(archive.unpacked for archive in self.todo)

    def peak_bytes(self) -> int:
        """Return the approximate largest size on disk, while an archive is being unpacked."""
        unpacked = peak = 0
        for archive in self.todo:
            unpacked += archive.unpacked
            peak = max(peak, unpacked + (0 if self._is_local(archive) else archive.bytes))
        return peak

    def _is_local(self, archive: Archive) -> bool:
        return archive.name in self.given and "://" not in self.given[archive.name]


def plan_fetch(source: DatasetSource, directory: Path, given: Sequence[str] = ()) -> FetchPlan:
    """Return a plan for the archives of `source` that are not yet in `directory`.

    `given` are the archives that the user has: files, or addresses that the authors sent.

    Raises DatasetError if one of them is not an archive of the dataset, if an archive is available
    on request only and not given, or if there is too little disk space.
    """
    directory = Path(directory)
    done = _read_record(directory)
    todo = tuple(
        archive
        for archive in source.archives
        if archive.name not in done or not (directory / archive.folder).is_dir()
    )
    plan = FetchPlan(source, directory, todo, _match_archives(source, given))
    for archive in todo:
        if not archive.urls and archive.name not in plan.given:
            raise DatasetError(f"{source.title}: {source.on_request}")
    _check_disk_space(plan)
    return plan


def fetch_dataset(plan: FetchPlan, options: FetchOptions | None = None) -> None:
    """Fetch and unpack the archives of a plan, one after the other.

    For an archive without a published hash, a warning says so; the first download from an address
    is trusted, and a different one afterwards is refused.

    Raises DownloadError if no address has an archive, ArchiveError if an archive is not valid, and
    DatasetError if another process fetches into the same folder. Completed archives are kept.
    """
    directory = plan.directory
    with only_process(directory / WORK / "lock", lambda: _refuse(directory)):
        done = _read_record(directory)
        for archive in plan.todo:
            done[archive.name] = _fetch_archive(
                archive, directory, plan.given.get(archive.name), options or FetchOptions()
            )
            _write_record(directory, plan.source.name, done)
            for file in (directory / WORK).glob(f"*{archive.name}*"):
                file.unlink()
        shutil.rmtree(directory / WORK, ignore_errors=True)


def _refuse(directory: Path) -> None:
    raise DatasetError(
        f"{directory}: another process is fetching into it: wait for it, or choose another folder"
    )


def _match_archives(source: DatasetSource, given: Sequence[str]) -> dict[str, str]:
    """Return the given file or address of each archive, by the archive's name."""
    matched: dict[str, str] = {}
    on_request = [archive.name for archive in source.archives if not archive.urls]
    for item in given:
        is_address = "://" in item
        if not is_address and not Path(item).is_file():
            raise DatasetError(f"{item}: there is no such file")
        name = PurePosixPath(unquote(urlsplit(item).path)).name if is_address else Path(item).name
        if name not in [archive.name for archive in source.archives]:
            # Archives that are available on request have different names.
            name = next((other for other in on_request if other not in matched), "")
        if not name or name in matched:
            names = ", ".join(archive.name for archive in source.archives)
            raise DatasetError(f"{item}: which archive of {source.name} is it: {names}?")
        matched[name] = item
    return matched


def _check_disk_space(plan: FetchPlan) -> None:
    """Raise DatasetError if the plan needs more disk space than is free."""
    work = plan.directory / WORK
    partial = sum(file.stat().st_size for file in work.glob("*.part")) if work.is_dir() else 0
    folders = (plan.directory, *plan.directory.absolute().parents)
    free = shutil.disk_usage(next(path for path in folders if path.is_dir())).free
    required = plan.peak_bytes() - partial
    if free < required:
        raise DatasetError(
            f"{plan.directory}: needs {required / 1e9:.1f} GB while unpacking, and"
            f" {free / 1e9:.1f} GB are free"
        )


def _fetch_archive(
    archive: Archive, directory: Path, given: str | None, options: FetchOptions
) -> dict[str, Any]:
    """Fetch and unpack one archive and return its entry in the record."""
    work = directory / WORK
    if given is not None and "://" not in given:
        file, source = Path(given), str(Path(given).absolute())
        _check_hash(archive, file)
    elif given is not None:
        # Partial files from different addresses must not be mixed: no hash proves them equal.
        address_hash = hashlib.sha256(given.encode()).hexdigest()[:12]
        file, source = work / f"{address_hash}.{archive.name}", given
        _download(archive, given, file, options)
        if not (archive.sha256 or archive.md5):
            _check_first(given, file)
    else:
        file = work / archive.name
        source = _download_any(archive, file, options)
    digest = _digest(file, "sha256")
    logger.info("%s: unpacking", archive.name)
    _unpack(archive, file, work / "unpacked", directory)
    return {"source": source, "bytes": file.stat().st_size, "sha256": digest}


def _download_any(archive: Archive, file: Path, options: FetchOptions) -> str:
    """Download an archive from the first address that has it, and return the address."""
    urls = list(archive.urls)
    if options.mirror:
        urls.insert(0, f"{options.mirror.rstrip('/')}/{archive.name}")
    failures = []
    for url in urls:
        logger.info("%s: fetching %s", archive.name, url)
        try:
            _download(archive, url, file, options)
        except DownloadError as error:
            logger.info("%s", error)
            failures.append(str(error))
        else:
            return url
    raise DownloadError("; ".join(failures))


def _download(archive: Archive, url: str, file: Path, options: FetchOptions) -> None:
    if file.is_file():  # downloaded before, but not unpacked
        return
    download(
        url,
        file,
        sha256=archive.sha256,
        md5=archive.md5,
        limit=_SIZE_TOLERANCE * archive.bytes,
        timeout=options.timeout,
        pause=options.pause,
        attempts=options.attempts,
        progress=options.progress,
    )


def _check_first(url: str, file: Path) -> None:
    try:
        check_first_seen(url, _digest(file, "sha256"))
    except DownloadError:
        file.unlink()
        raise


def _check_hash(archive: Archive, file: Path) -> None:
    algorithm, expected = ("sha256", archive.sha256) if archive.sha256 else ("md5", archive.md5)
    if expected is None:
        logger.warning("%s: no hash of it is published: it is used without a check", file)
        return
    digest = _digest(file, algorithm)
    if digest != expected:
        raise DownloadError(f"{file}: wrong bytes: its {algorithm} is {digest}, not {expected}")


def _digest(file: Path, algorithm: str) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, algorithm).hexdigest()


def _unpack(archive: Archive, file: Path, staging: Path, directory: Path) -> None:
    """Unpack into a staging folder first, so that a refused archive leaves no files."""
    shutil.rmtree(staging, ignore_errors=True)
    try:
        unpack(
            file,
            staging,
            limit=_SIZE_TOLERANCE * archive.unpacked + (64 << 20),
            max_files=archive.max_files,
            rename=_member_filter(archive),
        )
        files = sorted(path for path in staging.rglob("*") if path.is_file())
        if not files:
            raise ArchiveError(f"{file}: contains no file with a name like {archive.file_pattern}")
        _move(files, staging, directory)
    except ArchiveError:
        if file.parent == directory / WORK:
            file.unlink()  # complete, but useless
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _member_filter(archive: Archive) -> Callable[[str], str | None]:
    """Return a function that maps an archive's member to its path in the dataset, or to None.

    Kaggle's zip contains the photo folder twice: of files with the same name, the first is used.
    """
    names: set[str] = set()

    def path_in_dataset(member: str) -> str | None:
        path = PurePosixPath(member)
        # macOS adds a ._photo.jpg for every photo, in __MACOSX or beside the photo.
        is_macos_file = path.name.startswith(".") or "__MACOSX" in path.parts
        if is_macos_file or path.name in names or not re.fullmatch(archive.file_pattern, path.name):
            return None
        names.add(path.name)
        return f"{archive.folder}/{path.name}"

    return path_in_dataset


def _move(files: Iterable[Path], staging: Path, directory: Path) -> None:
    folders = set()
    for file in files:
        target = directory / file.relative_to(staging)
        if target.parent not in folders:
            target.parent.mkdir(parents=True, exist_ok=True)
            folders.add(target.parent)
        file.replace(target)


def _read_record(directory: Path) -> dict[str, Any]:
    try:
        done = json.loads((directory / RECORD).read_text("utf-8"))["archives"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return done if isinstance(done, dict) else {}


def _write_record(directory: Path, name: str, done: dict[str, Any]) -> None:
    record = {"dataset": name, "archives": done}
    atomic_write_text(directory / RECORD, json.dumps(record, indent=1) + "\n")
