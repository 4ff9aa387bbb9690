"""Photos that end the process that opens them, or hang it: as damaged ones do to C libraries.

`deadly(folder)` gives the environment of a service whose workers meet them so.
"""

from __future__ import annotations

import os
from pathlib import Path

CRASH, HANG, MEMORY = b"GIF89a crash", b"GIF89a hang", b"GIF89a memory"
NONSENSE = b"GIF89a nonsense"
_AT_START = f"""
import os, signal, sys, time
if "showtell.server.worker_process" in " ".join(sys.orig_argv):
    import showtell.image as image
    real = image._decode
    def deadly(file, *rest):
        data = file.getvalue()
        if data == {CRASH!r}:
            os.kill(os.getpid(), signal.SIGSEGV)
        if data == {MEMORY!r}:
            os.kill(os.getpid(), signal.SIGKILL)
        if data == {HANG!r}:
            time.sleep(3600)
        if data == {NONSENSE!r}:
            answer = lambda connection, *rest: connection.sendall(b"\\0\\0\\0\\2[]")
            sys.modules["__main__"]._send = answer
        return real(file, *rest)
    image._decode = deadly
"""


def deadly(folder: Path) -> dict[str, str]:
    """Write what a worker runs at its start, and return the variables that make it do so."""
    (folder / "sitecustomize.py").write_text(_AT_START)
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
