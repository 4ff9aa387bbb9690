"""Silence for the libraries that export and quantise: their notes do not help a user."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

_LOGGERS = ("", "torch.onnx", "onnxscript", "onnx_ir", "torch.export")  # "" is the root logger


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hide warnings and log messages below ERROR while the block runs."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
