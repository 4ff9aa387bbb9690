"""The processes that caption. One loads the model; workers are its forks and share its memory.

    python -m showtell.server.worker_process template|worker FD

A template loads the captioner once and forks a worker for each socket that it is handed: networks,
vocabulary and code lie in memory once, and a new worker is there in milliseconds. A captioner
whose networks use threads cannot be forked: then each worker is started on its own.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import logging
import os
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from showtell.captioner import Captioner
from showtell.errors import ShowtellError
from showtell.server.worker_protocol import pack, read

FIRST_TO_GO = "800"  # of 1000: where memory runs out, the kernel takes a worker, not the service


class Upload(io.BytesIO):
    """A photo as it was sent; messages call it by the name that came with it."""

    def __init__(self, data: bytes, name: str | None) -> None:
        super().__init__(data)
        self.name = name or "photo"


def caption_uploads(
    captioner: Captioner,
    photos: Sequence[bytes],
    names: Sequence[str | None],
    options: dict[str, Any],
    *,
    words: bool,
) -> tuple[list[bool], list[bytes]]:
    """Caption photos together: which of them failed, and of each the JSON that answers it."""
    uploads = [Upload(photo, name) for photo, name in zip(photos, names, strict=True)]
    failed, answers = [], []
    found = captioner.caption(iter(uploads), batch_size=len(uploads), **options)
    for caption, name in zip(found, names, strict=True):
        record = caption.to_dict(words=words)
        record["path"] = name
        failed.append(caption.error is not None)
        answers.append(json.dumps(record, allow_nan=False).encode())
    return failed, answers


def work(captioner: Captioner, connection: socket.socket) -> None:
    """Answer batches until the service goes away."""
    with connection, connection.makefile("rb") as incoming, contextlib.suppress(EOFError, OSError):
        _send(connection, {"ready": True, "pid": os.getpid()})
        while True:
            order, photos = read(incoming)
            failed, answers = caption_uploads(
                captioner, photos, order["names"], order["options"], words=order["words"]
            )
            _send(connection, {"failed": failed}, answers)


def template(captioner: Captioner, control: socket.socket) -> None:
    """Fork a worker for each socket that comes through `control`, until the service goes away."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: their sockets tell
    gc.collect()
    gc.freeze()  # collections would write to, and so copy, every page that workers share
    _send(control, {"ready": True, "pid": os.getpid()})
    while True:
        message, handles, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            _be_first_to_go()
            try:
                work(captioner, socket.socket(fileno=handles[0]))
            except BaseException:
                traceback.print_exc()
            os._exit(0)  # what was begun before the fork is the template's to end
        os.close(handles[0])


def main(role: str, descriptor: int) -> None:
    """Load the captioner as the first message says, and be a template or a worker."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the service ends its workers when it is done
    # What a decoder mutters about odd metadata is no news, and might name what was uploaded.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    connection = socket.socket(fileno=descriptor)
    with connection.makefile("rb", buffering=0) as incoming:
        order, _ = read(incoming)
    try:
        captioner = Captioner.load(
            Path(order["bundle"]), threads=order["threads"], max_pixels=order["max_pixels"]
        )
        # the first photo of a session is slow: let it not be a client's
        list(captioner.caption([Image.new("RGB", (64, 64))]))
    except ShowtellError as error:
        _send(connection, {"ready": False, "error": str(error)})
        return
    if role == "template":
        template(captioner, connection)
    else:
        _be_first_to_go()
        work(captioner, connection)


def _send(connection: socket.socket, header: dict[str, Any], parts: Sequence[bytes] = ()) -> None:
    for piece in pack(header, parts):
        connection.sendall(piece)


def _be_first_to_go() -> None:
    with contextlib.suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
