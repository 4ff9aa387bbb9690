"""Fetch a captioned dataset: its archives, checked, unpacked inside one folder, and removed.

Everything on its way lies in `.download` in that folder; what broke off goes on from there the next
time. `.showtell-download.json` notes which archives are done, and what they were.
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
_ROOM = 3  # an archive, and what it unpacks to, may be so many times as large as it is said to be


@dataclass(frozen=True)
class FetchOptions:
    """How archives are fetched; `timeout`, `pause` and `progress` are those of `download`."""

    mirror: str | None = None  # an address that holds archives by their names: asked first
    timeout: float = 30.0
    pause: float = 1.0
    attempts: int = 3  # of each address, in a row without a new byte
    progress: bool | None = None


@dataclass(frozen=True)
class FetchPlan:
    """What is to be fetched into a folder, and which archives a person has."""

    source: DatasetSource
    directory: Path
    todo: tuple[Archive, ...]
    given: dict[str, str]  # archive name -> file or address

    def to_fetch(self) -> int:
        """Return about how many bytes come over the network."""
        return sum(archive.bytes for archive in self.todo if not self._is_here(archive))

    def to_keep(self) -> int:
        """Return about how many bytes it takes on disk in the end."""
        return sum(archive.unpacked for archive in self.todo)

    def peak(self) -> int:
        """Return about how many bytes it takes on disk at most: archives lie there meanwhile."""
        kept = peak = 0
        for archive in self.todo:
            kept += archive.unpacked
            peak = max(peak, kept + (0 if self._is_here(archive) else archive.bytes))
        return peak

    def _is_here(self, archive: Archive) -> bool:
        return archive.name in self.given and "://" not in self.given[archive.name]


def plan_fetch(source: DatasetSource, directory: Path, given: Sequence[str] = ()) -> FetchPlan:
    """Find out which archives of `source` are not yet in `directory`.

    `given` names archives that a person has: files, or addresses that they were sent.
    Raises DatasetError where one of these is none of the dataset's, an archive is to be asked for,
    or there is too little room.
    """
    directory = Path(directory)
    done = _read_record(directory)
    todo = tuple(
        archive
        for archive in source.archives
        if archive.name not in done or not (directory / archive.folder).is_dir()
    )
    plan = FetchPlan(source, directory, todo, _match(source, given))
    for archive in todo:
        if not archive.urls and archive.name not in plan.given:
            raise DatasetError(f"{source.title}: {source.on_request}")
    _check_room(plan)
    return plan


def fetch_dataset(plan: FetchPlan, options: FetchOptions | None = None) -> None:
    """Fetch and unpack the archives of a plan, one after the other.

    An archive without a published hash is said to have none: of an address, the first file that
    came is trusted, and no other afterwards.

    Raises DownloadError where none of an archive's addresses has it, ArchiveError where an archive
    is not what it should be, DatasetError where another process is at it. What is done by then
    stays done.
    """
    directory = plan.directory
    with only_process(directory / WORK / "lock", lambda: _refuse(directory)):
        done = _read_record(directory)
        for archive in plan.todo:
            done[archive.name] = _bring(
                archive, directory, plan.given.get(archive.name), options or FetchOptions()
            )
            _write_record(directory, plan.source.name, done)
            for file in (directory / WORK).glob(f"*{archive.name}*"):
                file.unlink()
        shutil.rmtree(directory / WORK, ignore_errors=True)


def _refuse(directory: Path) -> None:
    raise DatasetError(
        f"{directory}: another process is fetching into it: wait for it, or give another folder"
    )


def _match(source: DatasetSource, given: Sequence[str]) -> dict[str, str]:
    """Return which of the archives that a person has is which, by the archive's name."""
    chosen: dict[str, str] = {}
    asked_for = [archive.name for archive in source.archives if not archive.urls]
    for item in given:
        address = "://" in item
        if not address and not Path(item).is_file():
            raise DatasetError(f"{item}: there is no such file")
        name = PurePosixPath(unquote(urlsplit(item).path)).name if address else Path(item).name
        if name not in [archive.name for archive in source.archives]:
            # What is given on request goes by many names.
            name = next((other for other in asked_for if other not in chosen), "")
        if not name or name in chosen:
            names = ", ".join(archive.name for archive in source.archives)
            raise DatasetError(f"{item}: which archive of {source.name} is it: {names}?")
        chosen[name] = item
    return chosen


def _check_room(plan: FetchPlan) -> None:
    """Refuse to begin what cannot end."""
    work = plan.directory / WORK
    here = sum(file.stat().st_size for file in work.glob("*.part")) if work.is_dir() else 0
    around = (plan.directory, *plan.directory.absolute().parents)
    free = shutil.disk_usage(next(path for path in around if path.is_dir())).free
    if free + here < plan.peak():
        raise DatasetError(
            f"{plan.directory}: needs {(plan.peak() - here) / 1e9:.1f} GB while unpacking, and"
            f" {free / 1e9:.1f} GB are free"
        )


def _bring(
    archive: Archive, directory: Path, given: str | None, options: FetchOptions
) -> dict[str, Any]:
    """Bring one archive's files into the folder; return what to note of it."""
    work = directory / WORK
    if given is not None and "://" not in given:
        file, source = Path(given), str(Path(given).absolute())
        _check_hash(archive, file)
    elif given is not None:
        # What came from another address is another file, as no hash says that it is the same.
        mark = hashlib.sha256(given.encode()).hexdigest()[:12]
        file, source = work / f"{mark}.{archive.name}", given
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
    """Fetch an archive from the first of its addresses that has it, and return that."""
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
    if file.is_file():  # whole since the last time: only the unpacking broke off
        return
    download(
        url,
        file,
        sha256=archive.sha256,
        md5=archive.md5,
        limit=_ROOM * archive.bytes,
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
        logger.warning("%s: nobody has published its hash: it is taken as it is", file)
        return
    found = _digest(file, algorithm)
    if found != expected:
        raise DownloadError(f"{file}: wrong bytes: its {algorithm} is {found}, not {expected}")


def _digest(file: Path, algorithm: str) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, algorithm).hexdigest()


def _unpack(archive: Archive, file: Path, staging: Path, directory: Path) -> None:
    """Unpack into a folder of its own first, so that a refused archive leaves nothing behind."""
    shutil.rmtree(staging, ignore_errors=True)
    try:
        unpack(
            file,
            staging,
            limit=_ROOM * archive.unpacked + (64 << 20),
            max_files=archive.max_files,
            rename=_placing(archive),
        )
        found = sorted(path for path in staging.rglob("*") if path.is_file())
        if not found:
            raise ArchiveError(f"{file}: holds no file of a name like {archive.file_pattern}")
        _move(found, staging, directory)
    except ArchiveError:
        if file.parent == directory / WORK:
            file.unlink()  # whole, and of no use
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _placing(archive: Archive) -> Callable[[str], str | None]:
    """Return what tells where a member of an archive goes.

    Kaggle's zip holds the folder of photos twice: of files of one name the first is taken.
    """
    taken: set[str] = set()

    def place(member: str) -> str | None:
        path = PurePosixPath(member)
        # macOS packs a ._photo.jpg with every photo, into __MACOSX or beside it.
        mac = path.name.startswith(".") or "__MACOSX" in path.parts
        if mac or path.name in taken or not re.fullmatch(archive.file_pattern, path.name):
            return None
        taken.add(path.name)
        return f"{archive.folder}/{path.name}"

    return place


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
