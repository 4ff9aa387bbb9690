from __future__ import annotations

import io
import os
import socket
import threading
from pathlib import Path

import pytest

from showtell.files.regular_files import (
    UnsuitableFileError,
    open_regular,
    read_at_most,
    read_regular,
)

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
MB = 1 << 20


def named_pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def test_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * MB)
    (tmp_path / "link").symlink_to("a")
    assert read_regular(tmp_path / "link", MB) == b"x" * MB
    (tmp_path / "a").write_bytes(b"x" * (MB + 1))
    with pytest.raises(UnsuitableFileError, match="larger than 1 MB"):
        read_regular(tmp_path / "a", MB)


def test_stream_is_read_up_to_the_limit() -> None:
    assert read_at_most(io.BytesIO(b"x" * 3 * MB), 3 * MB) == b"x" * 3 * MB
    with pytest.raises(UnsuitableFileError, match="larger than 3 MB"):
        read_at_most(io.BytesIO(b"x" * (3 * MB + 1)), 3 * MB)


@needs_pipes
def test_pipe_without_a_writer_is_refused_at_once_or_is_empty(tmp_path: Path) -> None:
    pipe = named_pipe(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(pipe)
    for path in (pipe, tmp_path / "link"):
        with pytest.raises(UnsuitableFileError, match="a named pipe, not a file"):
            open_regular(path)
        assert read_regular(path, MB, or_pipe=True) == b""


@needs_pipes
def test_pipe_that_the_user_names_is_read_up_to_the_limit() -> None:
    for size in (MB, MB + 1):
        reader, writer = os.pipe()

        def write(writer: int = writer, size: int = size) -> None:
            with os.fdopen(writer, "wb") as file:
                file.write(b"x" * size)

        thread = threading.Thread(target=write)
        thread.start()
        path = Path(f"/dev/fd/{reader}")
        try:
            if size == MB:
                assert read_regular(path, MB, or_pipe=True) == b"x" * MB
            else:
                with pytest.raises(UnsuitableFileError, match="larger than 1 MB"):
                    read_regular(path, MB, or_pipe=True)
        finally:
            while os.read(reader, MB):
                pass
            os.close(reader)
            thread.join()


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no /dev/zero")  # noqa: PTH110
def test_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    for or_pipe in (False, True):
        with pytest.raises(UnsuitableFileError, match="a device, not a file"):
            open_regular(tmp_path / "link", or_pipe=or_pipe)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
def test_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(UnsuitableFileError, match="a socket, not a file"):
            open_regular(Path("socket"))


def test_folder_and_missing_file_are_the_usual_errors(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory") as error:
        open_regular(tmp_path)
    assert isinstance(error.value, IsADirectoryError | PermissionError)  # the latter on Windows
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "no")
