"""Trust on first use: files without a published hash must stay what they were the first time."""

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
    """Return the file of the hashes that were seen first (it may not exist)."""
    return cache_dir() / "first-seen.json"


def check_first_seen(url: str, sha256: str) -> None:
    """Compare what `url` gave with what it gave the first time, or note it as the first.

    Raises DownloadError where it is another file now.
    """
    file = first_seen_file()
    try:
        known = json.loads(file.read_text("utf-8"))
        before = known.get(url)
    except (OSError, ValueError, AttributeError):
        known, before = {}, None
    if before is None:
        logger.warning(
            "%s: nobody has published its hash: it is trusted as it came, and noted in %s: another"
            " file from there will be refused. Its sha256 is %s",
            url,
            file,
            sha256,
        )
        known[url] = {"sha256": sha256, "date": datetime.now(UTC).date().isoformat()}
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(file, json.dumps(known, indent=1) + "\n")
    elif before["sha256"] != sha256:
        raise DownloadError(
            f"{url}: not the file of {before['date']}: its sha256 was {before['sha256']} and is"
            f" {sha256} now: if you trust it, remove its entry from {file}"
        )
