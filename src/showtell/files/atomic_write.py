"""Write files and folders so that an error or a power cut leaves no half-written content.

A file is replaced atomically. A folder is replaced by two renames: between them, for a moment, no
folder has the name.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from showtell.errors import ShowtellError
from showtell.files.os_errors import error_reason
from showtell.files.permissions import NEW_FILE, PRIVATE, copy_permissions, creation_opener
from showtell.files.printable_names import printable

_PRIVATE_FOLDER, _NEW_FOLDER = 0o700, 0o777  # the umask removes bits of the second


@contextlib.contextmanager
def atomic_write(
    path: Path,
    *,
    binary: bool = False,
    errors: str = "strict",
    temporary: Path | None = None,
    permissions_of: Path | None = None,
) -> Iterator[IO[Any]]:
    r"""Open a file for writing that replaces `path` when the block ends without an error.

    Text is UTF-8 with `\n` line ends; `errors` is that of `open`. The content is first written to
    `temporary`, by default a hidden file with a random name in the same folder, and is on the
    disk before it gets its name. If the block fails, `path` keeps its old content and the
    temporary file is removed. A symbolic link stays, and the file that it points to is replaced. A
    device or pipe is written to directly.

    An existing file keeps its permissions, and its owner and group where possible; until then,
    only the user can read the temporary file. A new file gets the permissions that the umask
    allows. With `permissions_of`, those of that file count instead, if it exists.

    Raises OSError if the file cannot be written.
    """
    kwargs: dict[str, Any] = {"mode": "wb"}
    if not binary:
        kwargs = {"mode": "w", "encoding": "utf-8", "errors": errors, "newline": "\n"}
    if path.exists() and not path.is_file():
        with path.open(**kwargs) as device:  # raises IsADirectoryError for a folder
            yield device
        return
    path = Path(os.path.realpath(path))  # Path.resolve() raises RuntimeError for a link to itself
    status = _status(permissions_of or path)
    if temporary is None:
        temporary = _temporary_name(path)
    try:
        with open(
            temporary, opener=creation_opener(NEW_FILE if status is None else PRIVATE), **kwargs
        ) as file:
            yield file
            sync_file(file)
        if status is not None:
            copy_permissions(status, temporary)
        move_into_place(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


@contextlib.contextmanager
def output_file(path: Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """Open an output file that a user named, as `atomic_write` does.

    Raises the errors of `output_errors`.
    """
    with output_errors(path), atomic_write(path, binary=binary) as file:
        yield file


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn errors of writing a file that a user named into ShowtellErrors that name it.

    Raises ShowtellError at once if `path` is a folder. A closed pipe stays a BrokenPipeError.
    """
    shown = printable(os.fspath(path))
    if path.is_dir():
        raise ShowtellError(f"{shown}: a folder, not a file to write to")
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ShowtellError(f"{shown}: cannot be written ({error_reason(error)})") from error


def atomic_write_text(
    path: Path, text: str, *, errors: str = "strict", permissions_of: Path | None = None
) -> None:
    """Write a text file as `atomic_write` does."""
    with atomic_write(path, errors=errors, permissions_of=permissions_of) as file:
        file.write(text)


@contextlib.contextmanager
def atomic_folder(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Create a folder that replaces the folder `path` when the block ends without an error.

    The block fills the yielded temporary folder, a hidden one beside `path`. Its files are on
    the disk before the folder gets its name. If the block fails, the temporary folder is removed
    and `path` stays as it was. An existing folder keeps its permissions. With `replace=False` a
    folder `path` that is not empty is an error.

    An existing folder is first renamed to a hidden name, so for a moment `path` does not exist. If
    the process is killed in that moment, the old folder is left beside it as `.NAME.*.tmp.old`.

    Raises OSError if the folder cannot be created or replaced.
    """
    temporary = _temporary_name(path)
    status = _status(path)
    temporary.mkdir(_NEW_FOLDER if status is None else _PRIVATE_FOLDER)
    try:
        yield temporary
        for path_inside in temporary.rglob("*"):
            if path_inside.is_dir():
                sync_folder(path_inside)
            elif path_inside.is_file():
                with path_inside.open("r+b") as file:
                    os.fsync(file.fileno())
        if status is not None:
            copy_permissions(status, temporary)
        sync_folder(temporary)
        if replace:
            _swap_folder(temporary, path)
        else:
            temporary.rename(path)
            sync_folder(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def move_into_place(temporary: Path, target: Path) -> None:
    """Give the finished file `temporary` the name `target`, replacing an older file."""
    temporary.replace(target)
    sync_folder(target.parent)


def sync_file(file: IO[Any]) -> None:
    """Wait until the content of an open file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system supports that."""
    with contextlib.suppress(OSError):  # Windows cannot open folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _swap_folder(finished: Path, target: Path) -> None:
    """Replace the folder `target` by `finished`; if that fails, `target` is restored."""
    old: Path | None = None
    if target.exists():
        old = finished.with_name(finished.name + ".old")
        target.replace(old)
    try:
        finished.replace(target)
    except OSError:
        if old is not None:
            with contextlib.suppress(OSError):
                old.replace(target)
        raise
    sync_folder(target.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name[:50]}.{secrets.token_hex(4)}.tmp")


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
