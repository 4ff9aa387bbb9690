"""Kill processes at random moments of their work.

The processes are forked from the test, which has already imported the code and loaded the model.
So the random moment falls into the work itself, not into the start of Python.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random


class RandomKiller:
    """Runs a function in forked processes and kills each at a random moment.

    `seconds` is about the time that the function takes; it is adjusted after each process.
    """

    def __init__(self, work: Callable[[], None], seconds: float) -> None:
        self.work = work
        self.seconds = seconds
        self.kills = 0

    def run_once(self, random: Random) -> None:
        """Start one process, and kill it unless it ends first."""
        child = os.fork()
        if child == 0:
            code = 1
            try:
                self.work()
                code = 0
            finally:
                os._exit(code)
        started = time.perf_counter()
        kill_at = started + random.uniform(0, self.seconds)
        while (now := time.perf_counter()) < kill_at:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                assert status == 0, "the work failed by itself"
                self.seconds = 0.5 * self.seconds + 0.5 * (now - started)
                return
            time.sleep(min(0.002, kill_at - now))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL), "the work failed by itself"
        self.kills += status == signal.SIGKILL
        self.seconds *= 1.1


def temporary_files(folder: Path) -> list[Path]:
    """Return showtell's temporary files below a folder."""
    return list(folder.rglob(".showtell-*"))
