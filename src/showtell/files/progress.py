"""One kind of progress bar, on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(
    total: int | None = None,
    *,
    description: str | None = None,
    unit: str = "photo",
    done: int = 0,
    shown: bool | None = None,
    leave: bool = False,
) -> tqdm[Any]:
    """Return a progress bar that counts to `total`, to be closed by the caller or by `with`.

    `shown` None draws the bar only if standard error is a terminal. `done` is how much is already
    complete. `leave` keeps the finished bar on the screen. The unit "B" counts bytes.
    """
    from tqdm import tqdm  # imported here: captioning one photo shows no bar

    return tqdm(
        total=total,
        initial=done,
        desc=description,
        unit=unit,
        unit_scale=unit == "B",
        leave=leave,
        dynamic_ncols=True,
        smoothing=0.1,
        file=sys.stderr,
        disable=not (sys.stderr.isatty() if shown is None else shown),
    )
