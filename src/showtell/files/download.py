"""Fetch a file over HTTP: resumed where it broke off, checked by hash, whole or not at all.

A download goes to `NAME.part` beside its target and is renamed when complete, so a file of the
target's name is always whole. What the server said of the file's version (its ETag) is kept
beside the part, and a part is only continued while the server still has that version.
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
from showtell.files.os_errors import error_reason
from showtell.files.progress import progress_bar
from showtell.files.retry import exponential_delay, retry

if TYPE_CHECKING:
    from tqdm import tqdm

logger = logging.getLogger(__name__)

_BLOCK = 1 << 16
_BROKEN = (
    urllib.error.URLError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
)
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class DownloadError(ShowtellError):
    """A file cannot be fetched, or is not the file that was promised."""


class _BrokenConnectionError(Exception):
    """This attempt broke off; the next one may go on."""


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
    """Fetch `url` (http or https) into the file `target` and return `target`.

    `sha256`, or else `md5` (hexadecimal), and `size` (bytes) are checked where given, `limit` is
    the most bytes taken. md5 is for files that only have a published md5: it tells a damaged or
    exchanged file, not one of two that its maker prepared. A server that sends nothing for
    `timeout` seconds counts as a broken connection. After `attempts` broken connections in a row
    without a new byte it is given up; the wait between them starts at `pause` seconds and doubles.
    What was fetched stays for the next call.
    `progress` draws a bar on standard error; None: where that is a terminal.

    Raises DownloadError where the file is not to be had or is the wrong one; then `target` is
    neither made nor changed.
    """
    try:
        known = urlsplit(url).scheme in ("http", "https")
    except ValueError:  # such as http://[
        known = False
    if not known:
        raise DownloadError(f"{url}: not an http or https address")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(url, target, promised=bool(sha256 or md5))
    algorithm, expected = ("sha256", sha256) if sha256 else ("md5", md5)
    with progress_bar(size, description=target.name, unit="B", shown=progress) as bar:
        fetch = _Fetch(url, part, size, limit, timeout, dict(headers or {}), bar)
        _fetch_all(fetch, attempts, pause)
        if expected and part.digest(algorithm) != expected.lower():
            if fetch.resumed:  # an older, other file may stand at its front: once more, from zero
                logger.info("%s: the resumed file is not the right one: fetching it anew", url)
                part.drop()
                _fetch_all(fetch, attempts, pause)
            found = part.digest(algorithm)
            if found != expected.lower():
                part.drop()
                raise DownloadError(
                    f"{url}: wrong bytes: their {algorithm} is {found}, not {expected.lower()}:"
                    " the file was changed or damaged, and is not kept"
                )
    part.finish(target)
    return target


class _Part:
    """The part of a file that is here, and which version of the file it belongs to."""

    def __init__(self, url: str, target: Path, *, promised: bool) -> None:
        self.path = target.with_name(target.name + ".part")
        self.note = target.with_name(target.name + ".part.json")
        self.promised = promised  # a hash: it tells in the end whether all bytes are right
        self.url = url
        self.version: str | None = None
        with suppress(OSError, ValueError, TypeError, KeyError):
            note = json.loads(self.note.read_text("utf-8"))
            if note["url"] == url:
                self.version = note["version"]

    def held(self) -> int:
        """Return how many bytes may be continued from."""
        if self.version is None and not self.promised:
            return 0  # nothing could tell whether the rest belongs to the same file
        with suppress(OSError):
            return self.path.stat().st_size
        return 0

    def starts(self, version: str | None) -> None:
        """Note the version of the file whose first byte comes next."""
        # Emptied before the note changes: old bytes must never stand under a new version.
        self.path.write_bytes(b"")
        self.version = version
        self.note.write_text(json.dumps({"url": self.url, "version": version}), "utf-8")

    def digest(self, algorithm: str) -> str:
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.version = None

    def finish(self, target: Path) -> None:
        self.path.replace(target)
        self.note.unlink(missing_ok=True)


class _Fetch:
    """One file's way over one or more connections."""

    def __init__(
        self,
        url: str,
        part: _Part,
        size: int | None,
        limit: int | None,
        timeout: float,
        headers: dict[str, str],
        bar: tqdm[Any],
    ) -> None:
        self.url, self.part, self.bar = url, part, bar
        self.size, self.limit, self.timeout = size, limit, timeout
        self.headers = headers
        self.resumed = False
        self.furthest = 0  # bytes; a connection that gets no further made no progress

    def attempt(self) -> None:
        """Fetch what is missing over one connection.

        Raises _BrokenConnectionError where the connection breaks, DownloadError where another
        attempt would end the same way.
        """
        held = self.part.held()
        if self.size is not None and held == self.size:
            self.resumed = True
            return
        request = urllib.request.Request(self.url, headers=self._request_headers(held))  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:  # noqa: S310
                self._receive(response, held)
        except urllib.error.HTTPError as error:
            self._refused(error, held)
        except http.client.InvalidURL as error:
            raise DownloadError(f"{self.url}: not an address ({error})") from None
        except _BROKEN as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise DownloadError(
                    f"{self.url}: its certificate is not trusted ({reason})"
                ) from None
            raise _BrokenConnectionError(str(reason) or type(reason).__name__) from error

    def _request_headers(self, held: int) -> dict[str, str]:
        # Bytes as they are stored: a length and a hash mean nothing of a recompressed body.
        headers = {"User-Agent": f"showtell/{__version__}", "Accept-Encoding": "identity"}
        if held:
            headers["Range"] = f"bytes={held}-"
            if self.part.version is not None:
                headers["If-Range"] = self.part.version
        return headers | self.headers

    def _receive(self, response: http.client.HTTPResponse, held: int) -> None:
        start = held if response.status == 206 else 0  # 200: Range ignored, or a newer version
        if response.status == 206 and _range_start(response) != held:
            self.part.drop()
            raise _BrokenConnectionError("the server answered with another range")
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        self._check_size(total)
        if start:
            self.resumed = True
        else:
            self.resumed = False
            self.part.starts(_version(response))
        if total is not None:
            self.bar.total = total
        self.bar.n = start
        with self.part.path.open("ab") as file:
            written = self._copy(response, file, start)
        if total is not None and written < total:
            raise _BrokenConnectionError(f"connection closed at {written} of {total} bytes")
        if self.size is not None and written != self.size:
            self.part.drop()
            raise DownloadError(f"{self.url}: has {written} bytes, not {self.size}")

    def _copy(self, response: http.client.HTTPResponse, file: BinaryIO, written: int) -> int:
        # read1 hands over what has come, so that a stall loses nothing of what came before it.
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
        """Refuse a file of the wrong or of too great a size as soon as it is known."""
        if total is None:
            return
        if self.limit is not None and total > self.limit:
            self.part.drop()
            raise DownloadError(f"{self.url}: larger than {self.limit} bytes: refused")
        if self.size is not None and (total > self.size or (exact and total != self.size)):
            self.part.drop()
            raise DownloadError(f"{self.url}: has {total} bytes, not {self.size}")

    def _refused(self, error: urllib.error.HTTPError, held: int) -> None:
        """Turn an HTTP error into the right exception, or find that nothing was missing."""
        if error.code == 416 and held:
            # The part is as long as the file, or longer: the hash tells, or it is fetched anew.
            if error.headers.get("Content-Range", "") == f"bytes */{held}":
                self.resumed = True
                return
            self.part.drop()
            raise _BrokenConnectionError("the server has no such range")
        if error.code in _TRY_AGAIN:
            raise _BrokenConnectionError(f"HTTP {error.code} {error.reason}")
        hint = ": check the address" if error.code in (404, 410) else ""
        raise DownloadError(f"{self.url}: HTTP {error.code} {error.reason}{hint}") from None


def _fetch_all(fetch: _Fetch, attempts: int, pause: float) -> None:
    """Fetch until the file is complete, or `attempts` in a row brought no new byte."""
    fruitless = 0
    furthest = fetch.furthest

    def delay(failures: int, error: _BrokenConnectionError) -> float | None:
        nonlocal fruitless, furthest
        fruitless = 1 if fetch.furthest > furthest else fruitless + 1
        furthest = fetch.furthest
        if fruitless >= attempts:
            return None
        seconds = exponential_delay(fruitless, pause)
        logger.info("%s: %s: trying again in %.0f s", fetch.url, error, seconds)
        return seconds

    try:
        retry(fetch.attempt, on=_BrokenConnectionError, delay=delay)
    except _BrokenConnectionError as error:
        raise DownloadError(
            f"{fetch.url}: given up after {fruitless} broken connections ({error}):"
            " run it again to continue where it stopped"
        ) from None


def _version(response: http.client.HTTPResponse) -> str | None:
    """Return what If-Range takes: a strong ETag, or the date of change."""
    etag = response.headers.get("ETag")
    if etag is not None and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified")


def _range_start(response: http.client.HTTPResponse) -> int | None:
    """Return the first byte's place of a 206 answer's `Content-Range: bytes 5-9/10`."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    start = rest.partition("-")[0]
    return int(start) if unit == "bytes" and start.isdecimal() else None
