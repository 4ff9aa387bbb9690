"""The worker processes, which caption photos for the service.

    python -m showtell.server.worker_process fork-server|worker FD

A fork server loads the captioner once and forks a worker for each socket that it receives. The
workers share its memory, and a new one starts in milliseconds. A captioner whose networks run in
several threads cannot be forked; then each worker is a process that loads the model itself.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
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
from showtell.image import NamedPhoto
from showtell.server.photo_pixels import decoding_pixels, fits_batch
from showtell.server.worker_memory import limit_memory
from showtell.server.worker_protocol import encode_message, read_message

# Of 1000. When memory runs out, the kernel kills a worker before it kills the service.
OOM_SCORE_ADJUSTMENT = "800"


def caption_batch(
    captioner: Captioner,
    photos: Sequence[bytes],
    names: Sequence[str | None],
    options: dict[str, Any],
    *,
    words: bool,
) -> tuple[list[bool], list[bytes]]:
    """Caption photos together; return for each whether it failed, and its JSON record."""
    files = [NamedPhoto(data, name) for data, name in zip(photos, names, strict=True)]
    failed: list[bool] = []
    records: list[bytes] = []
    if not files:
        return failed, records
    captions = captioner.caption(iter(files), batch_size=len(files), **options)
    for caption, name in zip(captions, names, strict=True):
        record = caption.to_dict(words=words, keywords=True)
        record["path"] = name
        failed.append(caption.error is not None)
        records.append(json.dumps(record, allow_nan=False).encode())
    return failed, records


def run_worker(captioner: Captioner, connection: socket.socket) -> None:
    """Caption the batches that arrive on `connection` until the service closes it.

    Of a batch, only as many photos are captioned as may be decoded together. The reply has the
    pixels of all, and for each whether it failed, or None if it was left undone. A batch that is
    `alone` has one photo, which is captioned in any case.
    """
    limit_memory(captioner.max_pixels)
    with connection, connection.makefile("rb") as stream, contextlib.suppress(EOFError, OSError):
        _send(connection, {"ready": True, "pid": os.getpid()})
        while True:
            header, photos = read_message(stream)
            pixels = [decoding_pixels(photo, captioner.max_pixels) for photo in photos]
            fits = [True] if header["alone"] else fits_batch(pixels)
            failed, records = caption_batch(
                captioner,
                list(itertools.compress(photos, fits)),
                list(itertools.compress(header["names"], fits)),
                header["options"],
                words=header["words"],
            )
            outcomes = iter(failed)
            done = [next(outcomes) if fit else None for fit in fits]
            _send(connection, {"pixels": pixels, "failed": done}, records)


def run_fork_server(captioner: Captioner, control: socket.socket) -> None:
    """Fork a worker for each socket that arrives on `control` until the service closes it."""
    # The service learns from a worker's socket that it has ended, so nobody needs to wait for it.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # a collection would write to, and so copy, the memory that workers share
    _send(control, {"ready": True, "pid": os.getpid()})
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            _raise_oom_score()
            try:
                run_worker(captioner, socket.socket(fileno=descriptors[0]))
            except BaseException:
                traceback.print_exc()
            os._exit(0)  # skips exit handlers, which belong to the fork server
        os.close(descriptors[0])


def main(role: str, descriptor: int) -> None:
    """Load the captioner that the first message names, and run as a fork server or a worker."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the service stops its workers itself
    # Decoder warnings about odd metadata do not help anybody, and could log what was uploaded.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    connection = socket.socket(fileno=descriptor)
    with connection.makefile("rb", buffering=0) as stream:
        header, _ = read_message(stream)
    try:
        captioner = Captioner.load(
            Path(header["bundle"]), threads=header["threads"], max_pixels=header["max_pixels"]
        )
        # The first photo of an ONNX session is slow: warm up, so that it is not a client's photo.
        list(captioner.caption([Image.new("RGB", (64, 64))]))
    except ShowtellError as error:
        _send(connection, {"ready": False, "error": str(error)})
        return
    if role == "fork-server":
        run_fork_server(captioner, connection)
    else:
        _raise_oom_score()
        run_worker(captioner, connection)


def _send(connection: socket.socket, header: dict[str, Any], parts: Sequence[bytes] = ()) -> None:
    for piece in encode_message(header, parts):
        connection.sendall(piece)


def _raise_oom_score() -> None:
    with contextlib.suppress(OSError):  # only Linux has this file
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE_ADJUSTMENT)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
