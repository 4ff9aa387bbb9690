"""Processes that are killed at any moment of their work.

They are forked from the test, which has loaded all code and the model: so a kill costs the time
that the work takes, and its moment is counted from the work's beginning.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random


class Killed:
    """Does some work again and again, in a process that is killed at a random moment of it."""

    def __init__(self, work: Callable[[], None], length: float) -> None:
        self.work = work
        self.length = length  # seconds that the work takes, about; corrected on the way
        self.kills = 0
        self.ended = 0

    def once(self, draw: Random) -> None:
        """Start the work, and kill it unless it ends before."""
        child = os.fork()
        if child == 0:
            code = 1
            try:
                self.work()
                code = 0
            finally:
                os._exit(code)
        began = time.perf_counter()
        moment = began + draw.uniform(0, self.length)
        while (now := time.perf_counter()) < moment:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                assert status == 0, "the work failed by itself"
                self.ended += 1
                self.length = 0.5 * self.length + 0.5 * (now - began)
                return
            time.sleep(min(0.002, moment - now))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL), "the work failed by itself"
        self.kills += status == signal.SIGKILL
        self.length *= 1.1


def leftovers(folder: Path) -> list[Path]:
    """Temporary files of ours."""
    return list(folder.rglob(".showtell-*"))
