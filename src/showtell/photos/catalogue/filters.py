"""Conditions that narrow a search: folders, dates and confidence."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from showtell.errors import ShowtellError
from showtell.files.printable_names import printable
from showtell.photos.catalogue.file_paths import paths_condition

_DATE_PATTERN = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?")


# a photo of which only the year or month is known counts as taken on its first day
_FIRST_DAY = "taken || substr('-01-01', length(taken) - 3)"


@dataclass(frozen=True)
class PhotoFilter:
    """Conditions that photos must meet.

    They are in `folders` or below, or are themselves listed there; taken on or after `after`, and
    before `before`; and their caption has at least `min_confidence` and at most
    `max_confidence`. Dates are 2024, 2024-05 or 2024-05-31. A photo without a date matches no date
    condition. A caption without a confidence, by a person or by a model that gives none, matches
    any `min_confidence` and no `max_confidence`.
    """

    folders: Sequence[Path] = ()
    after: str | None = None
    before: str | None = None
    min_confidence: float | None = None
    max_confidence: float | None = None

    @property
    def is_set(self) -> bool:
        """Whether there is any condition."""
        return self != PhotoFilter()

    def sql_condition(self, confidence: str = "confidence") -> tuple[str, list[object]]:
        """Return a condition on files, folders and pictures, and its parameters.

        `confidence` is the column that has at least `min_confidence`.
        """
        in_folders, folders = paths_condition(self.folders)
        conditions, values = ["files.missing_since IS NULL", in_folders], list[object](folders)
        for date, operator in ((self.after, ">="), (self.before, "<")):
            if date is not None:
                conditions.append(f"({_FIRST_DAY}) {operator} ?")
                values.append(parse_date(date))
        if self.min_confidence is not None:
            conditions.append(f"({confidence} IS NULL OR {confidence} >= ?)")
            values.append(self.min_confidence)
        if self.max_confidence is not None:
            conditions.append("confidence <= ?")
            values.append(self.max_confidence)
        return " AND ".join(conditions), values


def parse_date(text: str) -> str:
    """Return a date as `2024-05-31`; a year or month alone means its first day.

    Raises ShowtellError if it is not a date.
    """
    match = _DATE_PATTERN.fullmatch(text.strip())
    try:
        if match is None:
            raise ValueError
        year, month, day = (int(part) if part else 1 for part in match.groups())
        return datetime.date(year, month, day).isoformat()
    except ValueError:
        raise ShowtellError(
            f"{printable(text)}: not a date: write 2024, 2024-05 or 2024-05-31"
        ) from None
