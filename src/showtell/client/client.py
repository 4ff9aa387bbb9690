"""The client of the service.

Its captions have the same type as those of `Captioner.caption`, so that a program can switch from
one to the other.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeAlias, Unpack
from urllib.parse import urlsplit

from showtell import __version__
from showtell.caption import Caption
from showtell.client.responses import (
    Limits,
    PhotoRefusedError,
    ServedModel,
    ServiceError,
    dataclass_from_record,
    error_text,
    parse_caption,
    parse_response,
    retry_after,
)
from showtell.decoding.options import CaptionOptions, Decoding, DecodingDefaults
from showtell.errors import MissingExtraError, PhotoError
from showtell.files.os_errors import error_reason
from showtell.files.regular_files import read_regular
from showtell.files.retry import exponential_delay, retry
from showtell.image import MAX_FILE_BYTES, name_of
from showtell.pipeline import pipeline

try:
    import httpx
except ImportError:
    raise MissingExtraError("the client of the service", "client") from None

# A path, the bytes of a file, or an open binary file.
PhotoFile: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO"

_PHOTOS_PER_REQUEST = 8
_PARALLEL_REQUESTS = 2
_BUSY_STATUSES = (429, 503)
_RETRY_DELAY = 0.5  # seconds, if the service does not send Retry-After; doubles with each attempt
_MIN_COUNTED_DELAY = 0.05  # so that a service that always answers Retry-After: 0 ends the retries


class Options(CaptionOptions, total=False):
    """The options of `Captioner.caption`; with `words`, captions come with their words."""

    words: bool


@dataclass(frozen=True, slots=True)
class _Upload:
    """A photo to send, or the `error` why it cannot be read.

    `path` goes into the caption, `name` to the service.
    """

    path: Path | None
    name: str
    data: bytes
    error: str | None = None


class Client:
    """Captions photos with a service; several threads may share a client.

    If the service is busy, the client waits and tries again. It keeps connections open: close it,
    or use it in a `with` block.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        longest_wait: float = 60.0,
        verify: bool | str = True,
    ) -> None:
        """Create a client of the service at `url`; the first call connects.

        `timeout` is how many seconds the service may take to respond. If the service is busy, one
        call waits at most `longest_wait` seconds in total for new attempts (0: no new attempts).
        `verify` is False to accept any TLS certificate, or the path of the certificates to trust.

        Raises ValueError if `url` is not an http or https URL, a number is out of range, or the key
        has characters other than printable ASCII; OSError if the certificates cannot be read.
        """
        if not _is_http_url(url):
            raise ValueError(f"{url}: not an http or https URL")
        if not timeout > 0:
            raise ValueError(f"timeout={timeout}: must be greater than 0")
        if not longest_wait >= 0:
            raise ValueError(f"longest_wait={longest_wait}: must be at least 0")
        headers = {"User-Agent": f"showtell/{__version__}", "Accept": "application/json"}
        if api_key:
            if not (api_key.isascii() and api_key.isprintable()):
                raise ValueError("the API key may only have printable ASCII characters")
            headers["Authorization"] = f"Bearer {api_key}"
        self.url = url.rstrip("/")
        self.timeout, self.longest_wait = timeout, longest_wait
        if isinstance(verify, str):
            import ssl

            context: Any = ssl.create_default_context(cafile=verify)
        else:
            context = verify
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=timeout, verify=context
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def caption(self, photo: PhotoFile, **options: Unpack[Options]) -> Caption:
        """Caption one photo: a path, bytes or a binary file.

        Raises PhotoError if the photo cannot be read, PhotoRefusedError (a PhotoError) if the
        service cannot read it, ValueError if an option is out of range, and ServiceError for every
        other failure, such as an option beyond the limits of the service.
        """
        upload = _read_photo(photo)
        if upload.error is not None:
            raise PhotoError(upload.error)
        record = self._call(
            "POST",
            "/v1/captions",
            photo_name=upload.name,
            params=_query(options),
            content=upload.data,
            headers={"Content-Type": "application/octet-stream"},
        )
        return parse_caption(record, upload.path)

    def caption_many(
        self,
        photos: Iterable[PhotoFile],
        *,
        batch_size: int = _PHOTOS_PER_REQUEST,
        **options: Unpack[Options],
    ) -> Iterator[Caption]:
        """Caption any number of photos; returns an iterator of captions in the order of `photos`.

        The caption of a photo that cannot be read has an `error`; the others are not affected.
        A request has `batch_size` photos, or fewer if the service finds it too large.

        Raises ValueError if an option is out of range; the iterator raises ServiceError if the
        service fails.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} is less than 1")
        query = _query(options)
        return pipeline(
            photos,
            open_item=lambda _, photo: _read_photo(photo),
            finish=lambda batch: self._caption_batch(batch, query),
            batch_size=batch_size,
            threads=_PARALLEL_REQUESTS,
        )

    def models(self) -> list[ServedModel]:
        """Return the models of the service."""
        records = self._call("GET", "/v1/models")["models"]
        return [dataclass_from_record(ServedModel, record) for record in records]

    def limits(self) -> Limits:
        """Return the limits of a request."""
        return dataclass_from_record(Limits, self._call("GET", "/v1/models")["limits"])

    def health(self) -> str:
        """Return `alive`; raises ServiceError if the service does not respond."""
        return str(self._call("GET", "/health")["status"])

    def ready(self) -> bool:
        """Return whether the service accepts photos now: it has workers and room in its queue.

        Raises ServiceError if the service does not respond.
        """
        response = self._send("GET", "/ready")
        if response.status_code == 503:
            return False
        parse_response(response, self.url)
        return True

    def _caption_batch(self, batch: list[_Upload], query: dict[str, str]) -> list[Caption]:
        readable = [upload for upload in batch if upload.error is None]
        captions = iter(self._caption_readable(readable, query) if readable else [])
        return [
            next(captions) if upload.error is None else Caption(upload.path, error=upload.error)
            for upload in batch
        ]

    def _caption_readable(self, batch: list[_Upload], query: dict[str, str]) -> list[Caption]:
        """Caption photos in one request; in two if the service finds it too large."""
        files = [
            ("photos", (upload.name, upload.data, "application/octet-stream")) for upload in batch
        ]
        try:
            response = self._call(
                "POST", "/v1/captions", photo_name=batch[0].name, params=query, files=files
            )
        except PhotoRefusedError as error:
            if len(batch) == 1:
                return [Caption(batch[0].path, error=str(error))]
            middle = len(batch) // 2
            return [
                *self._caption_readable(batch[:middle], query),
                *self._caption_readable(batch[middle:], query),
            ]
        return [
            parse_caption(record, upload.path)
            for record, upload in zip(response["captions"], batch, strict=True)
        ]

    def _call(
        self, method: str, path: str, *, photo_name: str | None = None, **content: Any
    ) -> dict[str, Any]:
        """Send a request, again if the service is busy, and return the JSON object it answers."""
        waited = 0.0

        def send() -> httpx.Response:
            response = self._send(method, path, **content)
            if response.status_code in _BUSY_STATUSES:
                raise _BusyError(response)
            return response

        def delay(failures: int, error: Exception) -> float | None:
            nonlocal waited
            seconds = retry_after(error.response) if isinstance(error, _BusyError) else None
            if seconds is None:
                seconds = _with_jitter(exponential_delay(failures, _RETRY_DELAY))
            if waited + seconds > self.longest_wait:
                return None
            waited += max(seconds, _MIN_COUNTED_DELAY)
            return seconds

        try:
            response = retry(send, on=(_ConnectionLostError, _BusyError), delay=delay)
        except _ConnectionLostError as error:
            raise ServiceError(str(error)) from error.__cause__
        except _BusyError as error:
            response = error.response
        return parse_response(response, self.url, photo_name)

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Send one request and return the response, whatever its status."""
        try:
            return self._http.request(method, path, **content)
        except httpx.TimeoutException as error:
            raise ServiceError(
                f"{self.url}: no response within {self.timeout:g} s: try later, or raise timeout"
            ) from error
        except (httpx.ConnectError, httpx.ProxyError) as error:
            raise ServiceError(
                f"{self.url}: cannot connect ({error_text(error)}): is `showtell serve` running?"
            ) from error
        except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
            raise _ConnectionLostError(
                f"{self.url}: connection lost ({error_text(error)})"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServiceError(f"{self.url}: {error_text(error)}") from error


class _ConnectionLostError(ServiceError):
    """The connection broke. A new attempt is safe, because captioning has no side effects."""


class _BusyError(Exception):
    """The service is busy or overloaded, as its response says."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def _with_jitter(seconds: float) -> float:
    return seconds * random.uniform(0.5, 1)  # noqa: S311


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:  # such as http://[
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _read_photo(photo: PhotoFile) -> _Upload:
    """Read a photo's bytes; a photo that cannot be read becomes an upload with an error."""
    path: Path | None = None
    name = name_of(photo)
    try:
        if isinstance(photo, str | os.PathLike):
            path = Path(photo)
            data: object = read_regular(path, MAX_FILE_BYTES, or_pipe=True)
        elif isinstance(photo, bytes | bytearray | memoryview):
            data = bytes(photo)
        elif hasattr(photo, "read"):
            data = photo.read()
        else:
            kind = type(photo).__name__
            reason = f"{kind} cannot be sent: give a path, bytes or a binary file"
            return _Upload(path, name, b"", f"{name}: {reason}")
    except OSError as error:
        return _Upload(path, name, b"", f"{name}: cannot be read ({error_reason(error)})")
    if not isinstance(data, bytes):
        return _Upload(path, name, b"", f"{name}: opened as text: open it in binary mode ('rb')")
    return _Upload(path, name, data)


def _query(options: Mapping[str, Any]) -> dict[str, str]:
    """Return options as query parameters; None stands for the service's default.

    Raises TypeError for an unknown option, and ValueError for one that `Captioner.caption` refuses.
    """
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        raise TypeError(f"unknown option: {', '.join(sorted(unknown))}")
    # The beam of the service's model is not known here: this one fits any number of groups.
    groups = options.get("groups")
    beam = 1000 - 1000 % groups if isinstance(groups, int) and 1 <= groups <= 1000 else 1000
    decoding = {name: value for name, value in options.items() if name != "words"}
    Decoding.of(DecodingDefaults(beam=beam), **decoding)
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in options.items()
        if value is not None
    }
