"""Why photos of a job failed: errors without names and numbers, so that they can be counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from showtell.files.printable_names import printable


def failure_reason(record: dict[str, Any]) -> str:
    """Return a record's error without the photo's name and details, so that it can be counted."""
    reason = str(record["error"]).removeprefix(f"{printable(record['path'])}: ")
    return re.sub(r"\d[\d,]*", "N", reason.partition(" (")[0].partition(": ")[0])


def count_failures(records: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Count the records with an error by reason, the most frequent first."""
    reasons = (failure_reason(record) for record in records if record["error"] is not None)
    return dict(Counter(reasons).most_common())
