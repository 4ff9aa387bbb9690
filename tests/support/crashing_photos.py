"""Photos that crash or hang the worker that decodes them, as damaged files do to C libraries."""

from __future__ import annotations

import os
from pathlib import Path

CRASH, HANG, OUT_OF_MEMORY = b"GIF89a crash", b"GIF89a hang", b"GIF89a memory"
GARBAGE = b"GIF89a garbage"
_SITECUSTOMIZE = f"""
import os, signal, sys, time
if "showtell.server.worker_process" in " ".join(sys.orig_argv):
    import showtell.image as image
    decode = image.decode_photo
    def crashing_decode(file, *rest):
        data = file.getvalue()
        if data == {CRASH!r}:
            os.kill(os.getpid(), signal.SIGSEGV)
        if data == {OUT_OF_MEMORY!r}:
            os.kill(os.getpid(), signal.SIGKILL)
        if data == {HANG!r}:
            time.sleep(3600)
        if data == {GARBAGE!r}:
            send_garbage = lambda connection, *rest: connection.sendall(b"\\0\\0\\0\\2[]")
            sys.modules["__main__"]._send = send_garbage
        return decode(file, *rest)
    image.decode_photo = crashing_decode
"""


def crashing_environment(folder: Path) -> dict[str, str]:
    """Return the environment of a service whose workers crash on these photos.

    Writes a module into `folder` that Python runs when a worker starts.
    """
    (folder / "sitecustomize.py").write_text(_SITECUSTOMIZE)
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
