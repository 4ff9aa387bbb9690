"""Ctrl-C and SIGTERM stop training between two steps."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def catch_stop_signals(*, patient: bool = False) -> Iterator[Callable[[], bool]]:
    """Catch the first Ctrl-C or SIGTERM; yield a function that says whether there was one.

    A second signal stops at once, unless `patient` is set: torchrun forwards a signal that its
    ranks already have from the terminal, and kills ranks that take too long.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop.is_set
        return

    def handle(number: int, frame: Any) -> None:
        if not stop.is_set():
            stop.set()
            hint = "" if patient else "; press again to stop at once"
            logger.info("stopping after this step%s", hint)
        elif not patient:
            raise KeyboardInterrupt

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
