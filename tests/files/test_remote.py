from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from showtell.files import remote
from showtell.files.remote import (
    Address,
    MissingFileError,
    UnreadableFileError,
    UnwritableFileError,
    file_sha256,
    file_size,
    is_remote,
    join,
    list_files,
    open_file,
    read_file,
    read_range,
    remove_file,
    walk_files,
    write_file,
)

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(params=["path", "text", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Address]:
    """A folder on disk, given as a path and as text, and in the memory of fsspec."""
    remote._block.cache_clear()
    address: Address = tmp_path / "folder"
    if request.param == "text":
        address = str(address)
    elif request.param == "memory":
        address = f"memory://{tmp_path.name}"
    for name in ("b.txt", "a.txt"):
        put(address, name, b"0123456789")
    put(join(address, "sub"), "c.txt", b"c")
    put(join(address, "_ignored"), "d.txt", b"d")
    yield address
    fsspec.filesystem("memory").store.clear()


def put(folder: Address, name: str, data: bytes) -> None:
    with write_file(folder, name) as file:
        file.write(data)


def ignored(name: str) -> bool:
    return name.startswith("_")


def test_only_addresses_with_a_scheme_are_remote() -> None:
    assert is_remote("s3://bucket/photos")
    assert not is_remote("photos")
    assert not is_remote(Path("photos"))


def test_files_are_read_whole_in_ranges_and_by_seeking(
    folder: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "BLOCK", 4)
    file = join(folder, "a.txt")
    assert read_file(file) == b"0123456789"
    assert [read_range(file, start, 3) for start in (0, 2, 7)] == [b"012", b"234", b"789"]
    assert file_size(file) == 10
    assert file_sha256(file).startswith("84d89877")
    with open_file(file, random_access=True) as opened:
        opened.seek(8)
        assert opened.read() == b"89"


def test_range_past_the_end_is_an_error(folder: Address) -> None:
    with pytest.raises(UnreadableFileError, match=r"a\.txt: cut off: it ends before byte 11"):
        read_range(join(folder, "a.txt"), 5, 6)


def test_files_are_listed_and_walked_in_order(folder: Address) -> None:
    assert list_files(folder) == ["a.txt", "b.txt"]
    walked = list(walk_files(folder, ignored))
    assert walked == [f"{folder}/{name}" for name in ("a.txt", "b.txt", "sub/c.txt")]


def test_subfolder_that_cannot_be_listed_is_an_error(
    folder: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(list_folder: Callable[..., Any]) -> Callable[..., Any]:
        def list_or_refuse(*arguments: Any, **options: Any) -> Any:
            if str(arguments[-1]).endswith("sub"):
                raise PermissionError(13, "Permission denied")
            return list_folder(*arguments, **options)

        return list_or_refuse

    memory = type(fsspec.filesystem("memory"))
    monkeypatch.setattr(memory, "ls", refusing(memory.ls))
    monkeypatch.setattr(os, "scandir", refusing(os.scandir))
    with pytest.raises(UnreadableFileError, match="permission denied"):
        list(walk_files(folder, ignored))


def test_missing_files_and_folders_have_their_own_error(folder: Address) -> None:
    for read in (read_file, file_size, list_files):
        with pytest.raises(MissingFileError, match="nowhere: no such file"):
            read(join(folder, "nowhere"))


@pytest.mark.skipif(os.name == "nt", reason="named pipes")
def test_named_pipe_does_not_block_its_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableFileError, match="a named pipe, not a file"):
        read_file(tmp_path / "pipe")


def test_file_is_replaced_only_when_it_is_complete(folder: Address) -> None:
    def fail() -> None:
        with write_file(folder, "a.txt") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert read_file(join(folder, "a.txt")) == b"0123456789"
    put(folder, "a.txt", b"new")
    assert read_file(join(folder, "a.txt")) == b"new"
    assert list_files(folder) == ["a.txt", "b.txt"]


def test_error_of_the_caller_is_not_reported_as_one_of_the_disk(tmp_path: Path) -> None:
    def fail() -> None:
        with write_file(tmp_path, "a.txt"):
            raise ValueError("the caller's own mistake")

    with pytest.raises(ValueError, match="the caller's own mistake"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_removed_file_is_gone_and_may_be_removed_again(folder: Address) -> None:
    for _ in range(2):
        remove_file(join(folder, "a.txt"))
    assert list_files(folder) == ["b.txt"]


def test_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableFileError, match=r"file/a\.txt: cannot be written \("):
        put(tmp_path / "file", "a.txt", b"")


def test_any_error_of_a_file_system_becomes_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[str] = []

    def fail(self: object, path: str, **options: int) -> bytes:
        attempts.append(path)
        raise RuntimeError("503\nSlow down")

    monkeypatch.setattr(remote, "RETRY_DELAYS", (0.0, 0.0))
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", fail)
    with pytest.raises(UnreadableFileError, match=r"a: cannot be read \(503 Slow down\)$"):
        read_file("memory://a")
    assert len(attempts) == 3


@pytest.mark.parametrize("error", [FileNotFoundError("a"), PermissionError(13, "Access Denied")])
def test_errors_that_do_not_pass_are_not_retried(
    monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    attempts: list[str] = []

    def fail(self: object, path: str, **options: int) -> bytes:
        attempts.append(path)
        raise error

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", fail)
    with pytest.raises(UnreadableFileError):
        read_file("memory://a")
    assert len(attempts) == 1


def test_unknown_kind_of_address_is_an_error() -> None:
    with pytest.raises(UnreadableFileError, match=r"nowhere://a: Protocol not known: nowhere"):
        read_file("nowhere://a")
