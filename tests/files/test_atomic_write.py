from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from showtell.errors import ShowtellError
from showtell.files import atomic_write as module
from showtell.files.atomic_write import (
    atomic_folder,
    atomic_write,
    atomic_write_text,
    output_file,
)
from showtell.files.permissions import copy_permissions

posix = pytest.mark.skipif(sys.platform == "win32", reason="permissions and links of POSIX")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_text_is_utf8_with_newlines_as_written(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    atomic_write_text(path, "é\n")
    assert path.read_bytes() == b"\xc3\xa9\n"


def test_surrogates_are_written_on_request(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "file.txt", "\udcff", errors="surrogateescape")
    assert (tmp_path / "file.txt").read_bytes() == b"\xff"


def test_file_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with atomic_write(path, binary=True) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_write(path) as file:
            file.write("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_synced_before_the_file_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(
        Path, "replace", lambda self, target: (events.append("replace"), replace(self, target))[1]
    )
    atomic_write_text(tmp_path / "file.txt", "text")
    assert events[:2] == ["fsync", "replace"]
    if sys.platform != "win32":
        assert events[2:] == ["fsync"]  # of the folder


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_new_file_has_the_permissions_that_the_umask_allows(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        atomic_write_text(tmp_path / "file.txt", "text")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "file.txt") == 0o666 & ~umask


@posix
@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_existing_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    path.chmod(mode)
    atomic_write_text(path, "new")
    assert mode_of(path) == mode


@posix
def test_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "target.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("target.txt")
    atomic_write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "target.txt").read_text() == "new"


@posix
def test_link_to_itself_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        atomic_write_text(tmp_path / "loop", "new")
    assert list(tmp_path.iterdir()) == [tmp_path / "loop"]


@posix
def test_device_is_written_to_directly() -> None:
    atomic_write_text(Path("/dev/null"), "text")
    assert Path("/dev/null").is_char_device()


@posix
def test_pipe_behind_a_link_is_written_to_directly() -> None:
    reading, writing = os.pipe()
    atomic_write_text(Path(f"/dev/fd/{writing}"), "text")
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        assert file.read() == b"text"


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=str(tmp_path.name)):
        atomic_write_text(tmp_path, "text")


@posix
def test_long_name_still_gets_a_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250)
    atomic_write_text(path, "text")
    assert path.read_text() == "text"


def test_temporary_file_of_a_killed_process_is_overwritten(tmp_path: Path) -> None:
    path, temporary = tmp_path / "shard.tar", tmp_path / "shard.partial"
    temporary.write_bytes(b"left over and longer")
    with atomic_write(path, binary=True, temporary=temporary) as file:
        file.write(b"data")
    assert path.read_bytes() == b"data"
    assert not temporary.exists()


def test_folder_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with atomic_folder(target) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "new.txt").write_text("new")
        assert (target / "old.txt").is_file()
    assert [path.name for path in target.rglob("*")] == ["sub", "new.txt"]
    assert list(tmp_path.iterdir()) == [target]


def test_failure_keeps_the_old_folder_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()

    def fail() -> None:
        with atomic_folder(target) as folder:
            (folder / "half.txt").write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.rglob("*")) == [target]


def test_folder_that_cannot_be_swapped_is_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old.txt").write_text("old")
    replace = Path.replace

    def refuse(self: Path, other: Path) -> Path:
        if self.name.endswith(".tmp"):
            raise PermissionError(13, "Permission denied")
        return replace(self, other)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError), atomic_folder(target) as folder:
        (folder / "new.txt").write_text("new")
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "old.txt"]


def test_folder_sync_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    module.sync_folder(tmp_path)


def test_output_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "gone" / "out"
    with pytest.raises(ShowtellError, match=r"gone.out: cannot be written"), output_file(missing):
        pass
    with pytest.raises(ShowtellError, match="a folder, not a file"), output_file(tmp_path):
        pass


def test_closed_pipe_stays_a_broken_pipe_error(tmp_path: Path) -> None:
    with pytest.raises(BrokenPipeError), output_file(tmp_path / "out"):
        raise BrokenPipeError


def test_folder_that_must_be_new_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(OSError, match="model"), atomic_folder(target, replace=False) as folder:
        (folder / "new.txt").write_text("new")
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "old.txt"]


@posix
@pytest.mark.parametrize("leftover", [False, True])
def test_private_file_is_never_readable_by_others(tmp_path: Path, leftover: bool) -> None:
    path, temporary = tmp_path / "file.txt", tmp_path / "file.tmp"
    path.write_text("old")
    path.chmod(0o640)
    if leftover:
        temporary.write_text("of a killed process")
        temporary.chmod(0o666)
    with atomic_write(path, temporary=temporary) as file:
        assert mode_of(temporary) == 0o600
        file.write("new")
    assert mode_of(path) == 0o640


@posix
def test_new_file_takes_the_permissions_of_a_named_one(tmp_path: Path) -> None:
    (tmp_path / "private").touch(0o600)
    atomic_write_text(tmp_path / "partial", "text", permissions_of=tmp_path / "private")
    assert mode_of(tmp_path / "partial") == 0o600


@posix
def test_private_folder_is_never_readable_by_others(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir(0o750)
    with atomic_folder(target) as folder:
        assert mode_of(folder) == 0o700
        (folder / "new.txt").touch()
    assert mode_of(target) == 0o750
    assert (target / "new.txt").is_file()


@posix
def test_a_group_that_cannot_be_kept_gets_no_more_than_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.txt"
    path.touch()
    status = os.stat_result([0o664, 0, 0, 0, path.stat().st_uid, path.stat().st_gid + 1, *[0] * 4])

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    assert not copy_permissions(status, path)
    assert mode_of(path) == 0o644
