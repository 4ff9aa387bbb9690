"""Training that is asked to stop: Ctrl-C and SIGTERM as a question between two steps."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def asked_to_stop(*, patient: bool = False) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a saved stop after the present step.

    A second one stops at once, unless `patient`: torchrun passes on a signal that its ranks have
    from the terminal already, and ends those that take too long itself.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: Any) -> None:
        if not asked.is_set():
            asked.set()
            more = "" if patient else "; once more to stop at once"
            logger.info("stopping after this step%s", more)
        elif not patient:
            raise KeyboardInterrupt

    old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
