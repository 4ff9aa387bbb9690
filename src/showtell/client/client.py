"""A client of the service (`showtell serve`): what the captioner answers, from another machine.

It waits where the service says that it is busy and tries again, for a bounded time. Captions are
those of `Captioner.caption`, so a program can change from one to the other.
"""

from __future__ import annotations

import os
import random
import time
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
    caption_of,
    content_of,
    described,
    reason,
    retry_after,
)
from showtell.decoding.options import CaptionOptions
from showtell.errors import MissingExtraError, PhotoError
from showtell.image import name_of
from showtell.pipeline import pipeline

try:
    import httpx
except ImportError:
    raise MissingExtraError("the client of the service", "serve") from None

__all__ = [
    "Client",
    "Limits",
    "Options",
    "PhotoRefusedError",
    "ServedModel",
    "ServiceError",
]

Photo: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO"

BATCH_SIZE = 8  # photos in one request; two requests are on their way at once
_IN_FLIGHT = 2
_BUSY = (429, 503)
_PAUSE = 0.5  # seconds before the second attempt where the service does not say; doubled each time


class Options(CaptionOptions, total=False):
    """The options of `Captioner.caption`; with `words`, captions come with their words."""

    words: bool


@dataclass(frozen=True, slots=True)
class _Upload:
    """A photo on its way: `path` for the caption, `name` for the service, bytes or an error."""

    path: Path | None
    name: str
    data: bytes
    error: str | None = None


class Client:
    """Captions photos by a service; several threads may share one.

    It keeps connections open: close it, or use it in a `with` block.
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
        """Prepare for the service at `url`; the first call connects.

        `timeout` is how many seconds the service may be silent. Where it is busy it says how long
        to wait, and one call waits at most `longest_wait` seconds in all (0: never). `verify` is
        False to trust any certificate, or the path of the certificates to trust.

        Raises ValueError where `url` is no http or https address, or a number is out of range.
        """
        if not _is_address(url):
            raise ValueError(f"{url}: not an http or https address")
        if not timeout > 0 or not longest_wait >= 0:
            raise ValueError("timeout must be above 0 and longest_wait at least 0")
        headers = {"User-Agent": f"showtell/{__version__}", "Accept": "application/json"}
        if api_key:
            if not (api_key.isascii() and api_key.isprintable()):
                raise ValueError("the API key holds characters that no header can carry")
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

    def caption(self, photo: Photo, **options: Unpack[Options]) -> Caption:
        """Caption one photo: a path, bytes or a binary file.

        Raises PhotoError where the photo cannot be read, here or there (then it is a
        PhotoRefusedError), and ServiceError for all else.
        """
        upload = _read(photo)
        if upload.error is not None:
            raise PhotoError(upload.error)
        answer = self._call(
            "POST",
            "/v1/captions",
            params=_params(options),
            content=upload.data,
            about=upload.name,
            headers={"Content-Type": "application/octet-stream"},
        )
        return caption_of(answer, upload.path)

    def caption_many(
        self,
        photos: Iterable[Photo],
        *,
        batch_size: int = BATCH_SIZE,
        **options: Unpack[Options],
    ) -> Iterator[Caption]:
        """Caption any number of photos; an iterator of captions in the order of `photos`.

        A photo that cannot be read has an `error` in its caption, and the rest goes on.
        `batch_size` photos go in one request, fewer where the service takes no more.

        Raises ServiceError, from the iterator, where the service itself refuses or fails.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} is less than 1")
        params = _params(options)
        return pipeline(
            photos,
            open_item=lambda _, photo: _read(photo),
            finish=lambda batch: self._caption_batch(batch, params),
            batch_size=batch_size,
            threads=_IN_FLIGHT,
        )

    def models(self) -> list[ServedModel]:
        """Return the models that the service captions with."""
        return [
            described(ServedModel, model) for model in self._call("GET", "/v1/models")["models"]
        ]

    def limits(self) -> Limits:
        """Return how much one request may hold."""
        return described(Limits, self._call("GET", "/v1/models")["limits"])

    def health(self) -> str:
        """Return `alive`; raises ServiceError where the service does not answer."""
        return str(self._call("GET", "/health")["status"])

    def ready(self) -> bool:
        """Tell whether the service takes photos now: its model is loaded and its queue has room.

        Raises ServiceError where it does not answer.
        """
        response = self._request("GET", "/ready")
        if response.status_code == 503:
            return False
        content_of(response, self.url, None)
        return True

    def _caption_batch(self, batch: list[_Upload], params: dict[str, str]) -> list[Caption]:
        good = [upload for upload in batch if upload.error is None]
        found = iter(self._caption_good(good, params) if good else [])
        return [
            next(found) if upload.error is None else Caption(upload.path, error=upload.error)
            for upload in batch
        ]

    def _caption_good(self, batch: list[_Upload], params: dict[str, str]) -> list[Caption]:
        """Caption photos by one request, or by two where the service finds it too large."""
        try:
            answer = self._call(
                "POST",
                "/v1/captions",
                params=params,
                about=batch[0].name,
                files=[
                    ("photos", (upload.name, upload.data, "application/octet-stream"))
                    for upload in batch
                ],
            )
        except PhotoRefusedError as error:
            if len(batch) == 1:
                return [Caption(batch[0].path, error=str(error))]
            half = len(batch) // 2
            return [
                *self._caption_good(batch[:half], params),
                *self._caption_good(batch[half:], params),
            ]
        return [
            caption_of(record, upload.path)
            for record, upload in zip(answer["captions"], batch, strict=True)
        ]

    def _call(
        self, method: str, path: str, *, about: str | None = None, **content: Any
    ) -> dict[str, Any]:
        """Ask until there is an answer other than busy, or no more time to wait."""
        waited = 0.0
        pause = _PAUSE
        while True:
            response: httpx.Response | None = None
            try:
                response = self._request(method, path, **content)
            except _DroppedError as error:
                wait = pause * random.uniform(0.5, 1)  # noqa: S311
                if waited + wait > self.longest_wait:
                    raise ServiceError(str(error)) from error.__cause__
            else:
                if response.status_code not in _BUSY:
                    return content_of(response, self.url, about)
                asked = retry_after(response)
                wait = pause * random.uniform(0.5, 1) if asked is None else asked  # noqa: S311
                if waited + wait > self.longest_wait:
                    return content_of(response, self.url, about)
            time.sleep(wait)
            waited += max(wait, 0.05)  # a service that says 0 for ever is left in the end too
            pause *= 2

    def _request(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Send one request; an answer is an answer, whatever its status."""
        try:
            return self._http.request(method, path, **content)
        except httpx.TimeoutException as error:
            raise ServiceError(
                f"{self.url}: no answer within {self.timeout:g} s: try later, or raise timeout"
            ) from error
        except (httpx.ConnectError, httpx.ProxyError) as error:
            raise ServiceError(
                f"{self.url}: cannot be reached ({reason(error)}): is `showtell serve` running?"
            ) from error
        except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
            raise _DroppedError(
                f"{self.url}: the connection broke off ({reason(error)})"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServiceError(f"{self.url}: {reason(error)}") from error


class _DroppedError(ServiceError):
    """The connection broke off: captioning changes nothing there, so it may be asked again."""


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:  # such as http://[
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _read(photo: Photo) -> _Upload:
    """Read a photo's bytes; what cannot be read is an upload with an error."""
    path: Path | None = None
    name = name_of(photo)
    try:
        if isinstance(photo, str | os.PathLike):
            path = Path(photo)
            data: object = path.read_bytes()
        else:
            data = photo if isinstance(photo, bytes) else photo.read()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return _Upload(path, name, b"", f"{name}: cannot be read ({reason})")
    if not isinstance(data, bytes):
        return _Upload(path, name, b"", f"{name}: opened as text: open it in binary mode ('rb')")
    return _Upload(path, name, data)


def _params(options: Mapping[str, Any]) -> dict[str, str]:
    """Write options as query parameters; those that are None are the service's own."""
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        raise TypeError(f"no such option: {', '.join(sorted(unknown))}")
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in options.items()
        if value is not None
    }
