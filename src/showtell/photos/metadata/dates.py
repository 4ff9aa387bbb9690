"""Convert the dates of metadata standards to ISO 8601."""

from __future__ import annotations

import datetime
import email.utils
import re

_TIME = r"(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2}))?)?"
_PATTERNS = (
    # 2023, 2023-05, 2023-05-31T18:30:00+02:00, 2023:05:31 18:30:00, 2023/05/31
    re.compile(r"(\d{4})(?:([-:/.])(\d{1,2})(?:\2(\d{1,2}))?)?(?![\d:/.-])" + _TIME),
    re.compile(r"(\d{4})()(\d{2})(\d{2})(?!\d)(?:[T ]?(\d{2})(\d{2})(\d{2}))?"),  # 20230531 183000
)


def iso_date(text: str) -> str | None:
    """Convert a date of any metadata standard to ISO; zeros or blanks (unknown) give None."""
    text = text.replace("\0", " ").strip()
    for pattern in _PATTERNS:
        if match := pattern.match(text):
            year, _, month, day, *time = match.groups()
            return _join(year, month, day, time)
    try:  # RFC 1123, in PNG
        return email.utils.parsedate_to_datetime(text).replace(tzinfo=None).isoformat()
    except (ValueError, TypeError, IndexError):
        return None


def _join(year: str, month: str | None, day: str | None, time: list[str | None]) -> str | None:
    try:
        date = datetime.date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        return None
    if month is None or day is None:
        return date.isoformat()[: 4 if month is None else 7]
    if time[0] is not None:
        try:
            hour, minute, second = (int(part or 0) for part in time)
            clock = datetime.time(hour, minute, second)
        except ValueError:  # 24:00:00, or seconds of 60
            return date.isoformat()
        return f"{date.isoformat()}T{clock.isoformat()}"
    return date.isoformat()
