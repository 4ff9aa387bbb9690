"""What a search found, as one self-contained page with thumbnails."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image, ImageOps

from showtell.errors import ShowtellError
from showtell.files.printable_names import printable
from showtell.image import Preprocessing, open_photo
from showtell.photos.catalogue.search import PhotoRecord
from showtell.photos.metadata import raw_preview
from showtell.photos.metadata.exif import exif_of_tiff, read_facts
from showtell.photos.reading import raw_image, read_whole
from showtell.pipeline import pipeline

SIDE = 320  # pixels of a thumbnail's longer side
_QUALITY = 78
_STYLE = """
:root { color-scheme: light dark; --edge: #8884; --soft: #888; }
body { font: 16px/1.4 system-ui, sans-serif; margin: 0 auto; padding: 1.5rem; max-width: 90rem; }
h1 { font-size: 1.3rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
p { margin: 1.2rem 0 0; color: var(--soft); }
main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); }
figure { margin: 0; border: 1px solid var(--edge); border-radius: .6rem; overflow: hidden; }
a { display: block; color: inherit; text-decoration: none; }
a:focus-visible { outline: 3px solid Highlight; outline-offset: -3px; }
img, .none { width: 100%; aspect-ratio: 4 / 3; object-fit: cover; display: block; }
.none { display: grid; place-items: center; color: var(--soft); background: var(--edge); }
figcaption { padding: .6rem .8rem .8rem; overflow-wrap: anywhere; white-space: pre-line; }
small { display: block; color: var(--soft); margin-top: .3rem; white-space: normal; }
"""


def gallery(title: str, records: Iterable[PhotoRecord], *, threads: int = 2) -> Iterator[str]:
    """Yield a page of photos, piece by piece; the page needs no other file and runs no script.

    A click opens the photo itself where the page is opened on the machine that has it. A photo
    that cannot be read is shown as such.
    """
    shown = html.escape(title) or "All photos"
    # nothing but what stands in the page itself may be loaded or run by it
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{shown} - showtell</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{shown}</h1>\n<main>\n"
    )
    count = 0
    figures = pipeline(
        records,
        open_item=lambda _, record: _figure(record),
        finish=lambda batch: batch,
        batch_size=8,
        threads=threads,
    )
    for figure in figures:
        count += 1
        yield figure
    photos = "1 photo" if count == 1 else f"{count:,} photos"
    yield f"</main>\n<p>{photos}</p>\n</body>\n</html>\n"


def _figure(record: PhotoRecord) -> str:
    name = html.escape(printable(os.fspath(record.path)))
    caption = html.escape(record.caption or "")
    thumbnail = _thumbnail(record.path)
    if thumbnail is None:
        picture = '<span class="none">cannot be read</span>'
    else:
        picture = f'<img alt="{caption}" src="data:image/jpeg;base64,{thumbnail}">'
    notes = [html.escape(printable(record.path.name))]
    if record.taken:
        notes.append(html.escape(record.taken[:10]))
    if record.likeness is not None:
        notes.append(f"likeness {record.likeness:.2f}")
    elif record.source == "person":
        notes.append("a person's words")
    elif record.confidence is not None:
        notes.append(f"confidence {record.confidence:.2f}")
    # as_uri percent-encodes every byte that means anything in a page
    return (
        f'<figure><a href="{html.escape(record.path.as_uri())}" title="{name}">{picture}\n'
        f"<figcaption>{caption}<small>{' · '.join(notes)}</small></figcaption></a></figure>\n"
    )


def _thumbnail(path: Path) -> str | None:
    try:
        data, _ = read_whole(path)
        if raw_preview.is_raw(path.name):
            image = raw_image(data, read_facts(exif_of_tiff(data)).orientation)
        else:
            image = open_photo(data, preprocessing=Preprocessing(height=SIDE, width=SIDE))
    except (ShowtellError, MemoryError):
        return None
    buffer = io.BytesIO()
    image = ImageOps.contain(image, (SIDE, SIDE), Image.Resampling.BICUBIC)
    image.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
