"""Download a file over HTTP: resumable, verified by hash, and written whole or not at all.

A download goes to `NAME.part` beside its target and is renamed when it is complete and verified. If
it replaces a file, it gets that file's permissions, and only the user can read it until then.
The version of the file (its ETag) is kept in `NAME.part.json`, and a part is only continued while
the server still has that version.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from showtell import __version__
from showtell.errors import ShowtellError
from showtell.files.atomic_write import move_into_place
from showtell.files.os_errors import error_reason
from showtell.files.permissions import NEW_FILE, PRIVATE, copy_permissions, creation_opener
from showtell.files.printable_names import printable
from showtell.files.progress import progress_bar
from showtell.files.redirects import RedirectError, checked_opener
from showtell.files.retry import exponential_delay, retry

if TYPE_CHECKING:
    from tqdm import tqdm

logger = logging.getLogger(__name__)

_BLOCK = 1 << 16  # bytes
_CONNECTION_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
)
_LONGEST_REASON = 200  # characters of a server's words
_RETRY_STATUSES = (408, 425, 429, 500, 502, 503, 504)


class DownloadError(ShowtellError):
    """A file cannot be downloaded, or is not the expected file."""


class _BrokenConnectionError(Exception):
    """A connection broke; the next attempt can continue."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
    limit: int | None = None,
    timeout: float = 30.0,
    attempts: int = 5,
    pause: float = 1.0,
    headers: Mapping[str, str] | None = None,
    progress: bool | None = None,
) -> Path:
    """Download `url` (http or https) to the file `target` and return `target`.

    `sha256`, or else `md5` (hexadecimal), and `size` (bytes) are checked if given; `limit` is the
    maximum size. md5 is for files without a published sha256: it detects damage, but not a
    deliberate forgery. A server that sends nothing for `timeout` seconds counts as a broken
    connection. The download is given up after `attempts` broken connections in a row that brought
    no new byte; the wait between them starts at `pause` seconds and doubles. The next call
    continues an unfinished download. Redirects stay on http and https, never leave https, and do
    not lead from the internet into a private network. `progress` shows a bar, by default if
    standard error is a terminal.

    Raises DownloadError if the file is unavailable or not the expected one; `target` is then
    unchanged.
    """
    _require_http(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _PartFile(url, target, has_hash=bool(sha256 or md5))
    algorithm, expected = ("sha256", sha256) if sha256 else ("md5", md5)
    with progress_bar(size, description=target.name, unit="B", shown=progress) as bar:
        transfer = _Transfer(url, part, size, limit, timeout, dict(headers or {}), bar)
        _fetch_all(transfer, attempts, pause)
        if expected:
            actual = part.digest(algorithm)
            if actual != expected.lower() and transfer.was_resumed:
                logger.info("%s: the resumed file has a wrong hash: downloading it again", url)
                part.delete()
                _fetch_all(transfer, attempts, pause)
                actual = part.digest(algorithm)
            if actual != expected.lower():
                part.delete()
                raise DownloadError(
                    f"{url}: wrong bytes: their {algorithm} is {actual}, not {expected.lower()}:"
                    " the file was changed or damaged, and is not kept"
                )
    part.finish()
    return target


def _require_http(url: str) -> None:
    try:
        is_http = urlsplit(url).scheme in ("http", "https")
    except ValueError:  # such as http://[
        is_http = False
    if not is_http:
        raise DownloadError(f"{url}: not an http or https address")


class _PartFile:
    """The downloaded part of a file, and the version of the file that it belongs to."""

    def __init__(self, url: str, target: Path, *, has_hash: bool) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self.version_file = target.with_name(target.name + ".part.json")
        self.has_hash = has_hash  # which verifies all bytes in the end
        self.url = url
        self.version: str | None = None
        with suppress(OSError, ValueError, TypeError, KeyError):
            record = json.loads(self.version_file.read_text("utf-8"))
            if record["url"] == url:
                self.version = record["version"]

    def size(self) -> int:
        """Return how many bytes there are to continue from."""
        if self.version is None and not self.has_hash:
            return 0  # the rest might belong to another version
        with suppress(OSError):
            return self.path.stat().st_size
        return 0

    def restart(self, version: str | None) -> None:
        """Empty the part and record the version of the file that is downloaded from here on."""
        # emptied first: old bytes must never belong to a new version
        mode = PRIVATE if self.target.exists() else NEW_FILE
        with open(self.path, "wb", opener=creation_opener(mode)):
            pass
        self.version = version
        self.version_file.write_text(json.dumps({"url": self.url, "version": version}), "utf-8")

    def digest(self, algorithm: str) -> str:
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)
        self.version_file.unlink(missing_ok=True)
        self.version = None

    def finish(self) -> None:
        with suppress(FileNotFoundError):
            copy_permissions(self.target.stat(), self.path)
        move_into_place(self.path, self.target)
        self.version_file.unlink(missing_ok=True)


class _Transfer:
    """The transfer of one file over one or more connections."""

    def __init__(
        self,
        url: str,
        part: _PartFile,
        size: int | None,
        limit: int | None,
        timeout: float,
        headers: dict[str, str],
        bar: tqdm[Any],
    ) -> None:
        self.url, self.part, self.bar = url, part, bar
        self.size, self.limit, self.timeout = size, limit, timeout
        self.headers = headers
        self.was_resumed = False
        self.furthest = 0  # bytes; a connection that gets no further makes no progress

    def attempt(self) -> None:
        """Download the missing bytes over one connection.

        Raises _BrokenConnectionError if the connection breaks, DownloadError if another attempt
        would fail too.
        """
        offset = self.part.size()
        if self.size is not None and offset == self.size:
            self.was_resumed = True
            return
        request = urllib.request.Request(self.url, headers=self._request_headers(offset))  # noqa: S310
        try:
            with checked_opener().open(request, timeout=self.timeout) as response:
                self._receive(response, offset)
        except RedirectError as error:
            raise DownloadError(f"{self.url}: {error}: not followed") from None
        except urllib.error.HTTPError as error:
            self._handle_status(error, offset)
        except http.client.InvalidURL as error:
            raise DownloadError(f"{self.url}: not a valid address ({error})") from None
        except _CONNECTION_ERRORS as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise DownloadError(
                    f"{self.url}: the certificate is not trusted ({reason})"
                ) from None
            raise _BrokenConnectionError(str(reason) or type(reason).__name__) from error

    def _request_headers(self, offset: int) -> dict[str, str]:
        # a compressed body would have another length and hash
        headers = {"User-Agent": f"showtell/{__version__}", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if self.part.version is not None:
                headers["If-Range"] = self.part.version
        return headers | self.headers

    def _receive(self, response: http.client.HTTPResponse, offset: int) -> None:
        start = offset if response.status == 206 else 0  # 200: range ignored, or a newer version
        if response.status == 206 and _range_start(response) != offset:
            self.part.delete()
            raise _BrokenConnectionError("the server sent another range")
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        self._check_size(total)
        if start:
            self.was_resumed = True
        else:
            self.was_resumed = False
            self.part.restart(_version(response))
        if total is not None:
            self.bar.total = total
        self.bar.n = start
        with self.part.path.open("ab") as file:
            written = self._copy(response, file, start)
        if total is not None and written < total:
            raise _BrokenConnectionError(f"connection closed at {written} of {total} bytes")
        if self.size is not None and written != self.size:
            self.part.delete()
            raise DownloadError(f"{self.url}: has {written} bytes, not {self.size}")

    def _copy(self, response: http.client.HTTPResponse, file: BinaryIO, written: int) -> int:
        # read1 returns what has arrived, so that a stall loses nothing received before it
        while block := response.read1(_BLOCK):
            written += len(block)
            self._check_size(written, exact=False)
            try:
                file.write(block)
            except OSError as error:
                raise DownloadError(
                    f"{self.part.path}: cannot be written ({error_reason(error)})"
                ) from error
            self.bar.update(len(block))
            self.furthest = max(self.furthest, written)
        return written

    def _check_size(self, total: int | None, *, exact: bool = True) -> None:
        """Refuse a file of a wrong size as soon as the size is known."""
        if total is None:
            return
        if self.limit is not None and total > self.limit:
            self.part.delete()
            raise DownloadError(f"{self.url}: larger than {self.limit} bytes: refused")
        if self.size is not None and (total > self.size or (exact and total != self.size)):
            self.part.delete()
            raise DownloadError(f"{self.url}: has {total} bytes, not {self.size}")

    def _handle_status(self, error: urllib.error.HTTPError, offset: int) -> None:
        """Raise the right exception for an HTTP error, unless nothing was missing."""
        if error.code == 416 and offset:
            # The part is at least as long as the file.
            if error.headers.get("Content-Range", "") == f"bytes */{offset}":
                self.was_resumed = True
                return
            self.part.delete()
            raise _BrokenConnectionError("the server has no such range")
        if error.code in _RETRY_STATUSES:
            raise _BrokenConnectionError(f"HTTP {error.code} {error.reason}")
        hint = ": check the address" if error.code in (404, 410) else ""
        reason = printable(" ".join(str(error.reason).split())[:_LONGEST_REASON])
        raise DownloadError(f"{self.url}: HTTP {error.code} {reason}{hint}") from None


def _fetch_all(transfer: _Transfer, attempts: int, pause: float) -> None:
    """Transfer until the file is complete, or `attempts` in a row brought no new byte."""
    without_progress = 0
    furthest = transfer.furthest

    def delay(failures: int, error: _BrokenConnectionError) -> float | None:
        nonlocal without_progress, furthest
        without_progress = 1 if transfer.furthest > furthest else without_progress + 1
        furthest = transfer.furthest
        if without_progress >= attempts:
            return None
        seconds = exponential_delay(without_progress, pause)
        logger.info("%s: %s: trying again in %.0f s", transfer.url, error, seconds)
        return seconds

    try:
        retry(transfer.attempt, on=_BrokenConnectionError, delay=delay)
    except _BrokenConnectionError as error:
        raise DownloadError(
            f"{transfer.url}: given up after {without_progress} broken connections ({error}):"
            " run it again to continue where it stopped"
        ) from None


def _version(response: http.client.HTTPResponse) -> str | None:
    """Return the value for If-Range: a strong ETag, or the modification date."""
    etag = response.headers.get("ETag")
    if etag is not None and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified")


def _range_start(response: http.client.HTTPResponse) -> int | None:
    """Return the offset in a response's `Content-Range: bytes 5-9/10`, here 5."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    start = rest.partition("-")[0]
    return int(start) if unit == "bytes" and start.isdecimal() else None
