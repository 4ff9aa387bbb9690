"""Search results as one self-contained HTML page with thumbnails."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image, ImageOps

from showtell.decoding.confidence import doubt_about
from showtell.files.counts import count_of
from showtell.files.printable_names import printable
from showtell.image import Preprocessing, open_photo
from showtell.photos.catalogue.records import PhotoRecord
from showtell.photos.keyword_cells import format_keywords
from showtell.photos.photo_names import is_raw_name
from showtell.photos.reading import open_raw, read_stable_file
from showtell.pipeline import pipeline

_THUMBNAIL_SIDE = 320  # pixels of a thumbnail's longer side
_THUMBNAIL_PREPROCESSING = Preprocessing(height=_THUMBNAIL_SIDE, width=_THUMBNAIL_SIDE)
_JPEG_QUALITY = 78
_STYLESHEET = """
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
em { display: block; font-style: normal; font-weight: 600; white-space: normal; }
.unsure { color: light-dark(#7a5200, #f0c060); }
.guess { color: light-dark(#a3201a, #ff9a90); }
small { display: block; color: var(--soft); margin-top: .3rem; white-space: normal; }
"""


def render_gallery(
    title: str, records: Iterable[PhotoRecord], *, threads: int = 2
) -> Iterator[str]:
    """Yield an HTML page of photos, piece by piece; it needs no other file and no script.

    A click opens the photo, on the computer that stores it. A photo that cannot be read has a
    placeholder.
    """
    heading = html.escape(title) or "All photos"
    # the page must not load anything or run scripts
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading} - showtell</title>\n<style>{_STYLESHEET}</style>\n</head>\n<body>\n"
        f"<h1>{heading}</h1>\n<main>\n"
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
    yield f"</main>\n<p>{count_of(count, 'photo')}</p>\n</body>\n</html>\n"


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
    if record.similarity is not None:
        notes.append(f"similarity {record.similarity:.2f}")
    elif record.source == "person":
        notes.append("by a person")
    elif record.confidence is not None:
        notes.append(f"confidence {record.confidence:.2f}")
    if record.matches:
        notes.append(html.escape(format_keywords(record.matches)))
    doubt = doubt_about(record.confidence)
    mark = "" if doubt is None else f'<em class="{doubt.name}">{html.escape(doubt.title)}</em>'
    # as_uri percent-encodes every byte that has a meaning in HTML
    return (
        f'<figure><a href="{html.escape(record.path.as_uri())}" title="{name}">{picture}\n'
        f"<figcaption>{caption}{mark}<small>{' · '.join(notes)}</small></figcaption></a></figure>\n"
    )


def _thumbnail(path: Path) -> str | None:
    try:
        data, _ = read_stable_file(path)
        if is_raw_name(path.name):
            image = open_raw(data, preprocessing=_THUMBNAIL_PREPROCESSING)
        else:
            image = open_photo(data, preprocessing=_THUMBNAIL_PREPROCESSING)
    except Exception:  # one photo must not spoil the page
        return None
    buffer = io.BytesIO()
    image = ImageOps.contain(image, (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.BICUBIC)
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
