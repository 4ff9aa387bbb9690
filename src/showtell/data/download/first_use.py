"""Trust on first use: a file without a published hash must not change after the first download."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

from showtell.files.atomic_write import atomic_write_text
from showtell.files.download import DownloadError
from showtell.files.folders import cache_dir

logger = logging.getLogger(__name__)


def first_seen_file() -> Path:
    """Return the path of the file that records first hashes (it may not exist)."""
    return cache_dir() / "first-seen.json"


def check_first_seen(url: str, sha256: str) -> None:
    """Compare a file's hash with that of the first download from `url`, or record it as the first.

    Raises DownloadError if the hash differs.
    """
    file = first_seen_file()
    try:
        known = json.loads(file.read_text("utf-8"))
        first = known.get(url)
    except (OSError, ValueError, AttributeError):
        known, first = {}, None
    if first is None:
        logger.warning(
            "%s: no hash of it is published: this download is trusted and its hash recorded in %s;"
            " another file from there will be refused. Its sha256 is %s",
            url,
            file,
            sha256,
        )
        known[url] = {"sha256": sha256, "date": datetime.now(UTC).date().isoformat()}
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(file, json.dumps(known, indent=1) + "\n")
    elif first["sha256"] != sha256:
        raise DownloadError(
            f"{url}: not the file of {first['date']}: its sha256 was {first['sha256']} and is"
            f" {sha256} now: if you trust it, remove its entry from {file}"
        )
