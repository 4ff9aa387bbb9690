"""Reads the photos of a form (multipart/form-data) in memory, as its bytes arrive."""

from __future__ import annotations

from http import HTTPStatus

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from showtell.server.file_names import parse_disposition
from showtell.server.problem_details import ProblemError

PHOTOS_FIELD = "photos"
_MAX_EMPTY_PARTS = 64
_MAX_HEADER_BYTES = 8192  # of one part


class PhotoForm:
    """The photos of a form and their file names, in order; None is a file without a name.

    File inputs without a chosen file are left out. `write` and `finish` raise ProblemError if the
    form is malformed, has other fields or more than `max_photos` photos. The parser of Starlette
    is not used, because it takes a form that is cut off for a whole one.
    """

    def __init__(self, boundary: bytes, max_photos: int) -> None:
        self.photos: list[bytes] = []
        self.names: list[str | None] = []
        self._max_photos = max_photos
        self._parts = 0
        self._header_bytes = 0
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._disposition = b""
        self._file_name = ""
        self._data = bytearray()
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_header_name,
                    "on_header_value": self._add_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _damaged(str(error)) from None

    def write(self, chunk: bytes) -> None:
        """Read the next bytes of the form."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _damaged(str(error)) from None

    def finish(self) -> None:
        """Check that the form was complete and had a photo."""
        if not self._ended:
            raise _damaged("it ends before its closing boundary: send it again")
        if not self.photos:
            raise ProblemError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "no-photos",
                f"the form has no photo in the field '{PHOTOS_FIELD}'",
            )

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > self._max_photos + _MAX_EMPTY_PARTS:
            raise _too_many_photos(self._max_photos)
        self._header_bytes = 0
        self._disposition = b""
        self._data = bytearray()

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_value += data[start:end]

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _MAX_HEADER_BYTES:
            raise _damaged(f"the header of a part has more than {_MAX_HEADER_BYTES} bytes")

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _end_headers(self) -> None:
        disposition = parse_disposition(self._disposition)
        if disposition.field is None:
            raise _damaged("a part has no name in its Content-Disposition")
        if disposition.field != PHOTOS_FIELD or disposition.file_name is None:
            raise ProblemError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "wrong-field",
                f"a form may only have files in the field '{PHOTOS_FIELD}'; put options into"
                " the URL: ?beam=5",
            )
        self._file_name = disposition.file_name

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def _end_part(self) -> None:
        if not (self._file_name or self._data):
            return  # what browsers send for a file input without a chosen file
        if len(self.photos) == self._max_photos:
            raise _too_many_photos(self._max_photos)
        self.photos.append(bytes(self._data))
        self.names.append(self._file_name or None)
        self._data = bytearray()

    def _end(self) -> None:
        self._ended = True


def _damaged(reason: str) -> ProblemError:
    return ProblemError(
        HTTPStatus.BAD_REQUEST, "damaged-form", f"the form cannot be read: {reason}"
    )


def _too_many_photos(max_photos: int) -> ProblemError:
    return ProblemError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "too-many-photos",
        f"more than {max_photos} photos: send them in several requests",
        max_photos=max_photos,
    )
