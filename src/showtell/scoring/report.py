"""An evaluation as one HTML file with photos, captions, references and scores.

The page loads nothing from elsewhere, and its content security policy allows only its own script,
by hash. It contains the evaluation's JSON, so that `showtell compare` can read a report.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

from showtell.data.shards.index import find_shard_photo
from showtell.errors import PhotoError
from showtell.files.atomic_write import atomic_write_text
from showtell.files.counts import count_of
from showtell.files.printable_names import printable
from showtell.image import Preprocessing, open_photo
from showtell.scoring.evaluation import DATA_ID, EvaluatedPhoto, Evaluation
from showtell.scoring.metrics import METRICS, Scores

# Longest side in pixels and JPEG quality of a thumbnail: the first pair that fits the budget.
_THUMBNAILS = ((160, 72), (128, 64), (96, 56), (64, 50))
_BUDGET = 9_000_000  # bytes of all thumbnails in base64; text and JSON take about 2 kB per photo
_SAMPLE = 24  # photos from which the size of all thumbnails is estimated

_COLUMNS = ("cider", "bleu_4", "meteor", "rouge_l", "spice")


def write_report(evaluation: Evaluation, path: Path) -> None:
    """Write the report to `path`, whole or not at all; photos are read again for thumbnails.

    A photo that is no longer there has no thumbnail. 1,000 photos give a file of about 10 MB; with
    more photos the thumbnails are smaller, or left out, to stay near that size.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, report_html(evaluation))


def report_html(evaluation: Evaluation) -> str:
    """Return the report's HTML text."""
    style, script = _page_file("report.css"), _page_file("report.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}';"
        f" script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )
    title = _text(f"{evaluation.model} on {evaluation.photos_text}")
    # In JSON, "<" occurs only inside strings, where it can be escaped. So no caption can close the
    # script element or open a comment.
    data = evaluation.to_json().replace("<", "\\u003c")
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}: showtell report</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            *_head(evaluation, title),
            *_photo_table(evaluation),
            f'<script type="application/json" id="{DATA_ID}">{data}</script>',
            f"<script>{script}</script>",
            "</body>",
            "</html>\n",
        ]
    )


def _head(evaluation: Evaluation, title: str) -> Iterator[str]:
    scores = evaluation.scores
    yield f"<header><h1>{title}</h1>"
    yield (
        f"<p>{count_of(scores.photos, 'photo')} of {_text(evaluation.dataset)},"
        f" {evaluation.decoding}. Scorer: {_text(scores.scorer)}.</p>"
    )
    yield f'<p class="soft">{_text(variety_line(scores))}</p>'
    yield from (f'<p class="soft">{_text(line)}</p>' for line in scores.missing)
    if evaluation.seen:
        yield (
            f"<p><strong>{evaluation.seen:,} of these photos have names of photos that the model"
            " was trained on.</strong></p>"
        )
    yield "</header><main>"
    yield from _score_table(evaluation)
    if evaluation.failed:
        failed_photos = count_of(len(evaluation.failed), "photo")
        yield f"<h2>Left out</h2><details><summary>{failed_photos}</summary><ul>"
        for failed in evaluation.failed:
            yield f"<li>{_name(failed.name)}: {_name(failed.error)}</li>"
        yield "</ul></details>"


def _score_table(evaluation: Evaluation) -> Iterator[str]:
    keys = list(evaluation.scores.metrics())
    yield "<h2>Scores</h2>"
    yield '<div class="scroll" tabindex="0" role="region" aria-label="Scores"><table>'
    yield "<caption>Multiplied by 100, as in papers; BLEU and METEOR are corpus scores.</caption>"
    cells = "".join(f'<th scope="col" class="number">{METRICS[key]}</th>' for key in keys)
    yield f'<thead><tr><th scope="col">Photos</th>{cells}</tr></thead><tbody>'
    for part, values in evaluation.parts.items():
        cells = "".join(f'<td class="number">{values.metrics()[key]:.1f}</td>' for key in keys)
        yield f'<tr><th scope="row">{_text(part)} ({values.photos:,})</th>{cells}</tr>'
    yield "</tbody></table></div>"


def variety_line(scores: Scores) -> str:
    """Return one line about the length and variety of the captions."""
    line = (
        f"captions: {scores.mean_length:.1f} words on average,"
        f" {100 * scores.distinct_captions:.1f} % distinct,"
        f" {count_of(scores.distinct_words, 'word')} used"
    )
    if scores.vocabulary_used is None:
        return line
    return f"{line} ({100 * scores.vocabulary_used:.1f} % of the vocabulary)"


def _photo_table(evaluation: Evaluation) -> Iterator[str]:
    photos = sorted(evaluation.photos, key=_worst_first)
    keys = [key for key in _COLUMNS if any(getattr(p.scores, key) is not None for p in photos)]
    has_confidence = any(photo.confidence is not None for photo in photos)
    yield "<h2>Photos</h2>"
    yield (
        '<div class="tools" id="tools" hidden>'
        '<button type="button" id="worst">Worst first</button>'
        '<button type="button" id="best">Best first</button>'
        '<label>Filter by words <input type="search" id="words" autocomplete="off"></label>'
        f'<span id="shown" role="status">{len(photos)} of {len(photos)} photos</span></div>'
    )
    yield '<div class="scroll tall" tabindex="0" role="region" aria-label="Photos">'
    yield '<table id="photos">'
    yield "<caption>Sorted by CIDEr, worst first; select a heading to sort by it.</caption>"
    yield '<thead><tr><th scope="col"><button type="button">Photo</button></th>'
    yield '<th scope="col"><button type="button">Caption</button></th>'
    yield '<th scope="col">References</th>'
    for key in keys:
        order = ' aria-sort="ascending"' if key == "cider" else ""
        yield (
            f'<th scope="col" class="number" data-key="{key}"{order}>'
            f'<button type="button">{METRICS[key]}</button></th>'
        )
    if has_confidence:
        yield '<th scope="col" class="number"><button type="button">Confidence</button></th>'
    yield "</tr></thead><tbody>"
    side, quality = _thumbnail_size([photo.path for photo in photos])
    for photo in photos:
        yield _row(photo, keys, has_confidence, _thumbnail(photo.path, side, quality))
    yield "</tbody></table></div></main>"


def _worst_first(photo: EvaluatedPhoto) -> tuple[float, float, str]:
    # Many captions have a CIDEr of 0; ROUGE-L still ranks them.
    return photo.scores.cider, photo.scores.rouge_l, photo.name


def _row(
    photo: EvaluatedPhoto, keys: Sequence[str], has_confidence: bool, thumbnail: str | None
) -> str:
    name = _name(photo.name)
    picture = f'<img src="{thumbnail}" alt="" loading="lazy">' if thumbnail else ""
    references = "".join(f"<li>{_text(reference)}</li>" for reference in photo.references)
    cells = [_number(getattr(photo.scores, key), 1) for key in keys]
    if has_confidence:
        cells.append(_number(photo.confidence, 2))
    return (
        f'<tr><td class="photo">{picture}<span class="soft">{name}</span></td>'
        f'<td class="caption">{_text(photo.text)}</td>'
        f'<td class="references"><ul>{references}</ul></td>{"".join(cells)}</tr>'
    )


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return '<td class="number">–</td>'
    return f'<td class="number" data-value="{value:.6g}">{value:.{digits}f}</td>'


def _thumbnail_size(paths: Sequence[str]) -> tuple[int, int]:
    """Return side and quality of the largest thumbnails that fit, (0, 0) if none do."""
    step = max(1, len(paths) // _SAMPLE)
    sample = paths[::step]
    for side, quality in _THUMBNAILS:
        sizes = [len(_thumbnail(path, side, quality) or "") for path in sample]
        if sum(sizes) / max(1, len(sizes)) * len(paths) <= _BUDGET:
            return side, quality
    return 0, 0


def _thumbnail(path: str, side: int, quality: int) -> str | None:
    """Return a small JPEG of a photo as a data URI, None if it cannot be read."""
    if not side:
        return None
    try:
        photo = find_shard_photo(path) or path
        image = open_photo(photo, preprocessing=Preprocessing(height=side, width=side))
    except PhotoError:
        return None
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _page_file(name: str) -> str:
    return (resources.files("showtell.scoring") / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _text(text: str) -> str:
    """Escape text for HTML; surrogates, as in file names that are not UTF-8, become "?"."""
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"))


def _name(name: str) -> str:
    return html.escape(printable(name))
