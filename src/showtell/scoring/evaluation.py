"""The result of an evaluation, and its form on disk: JSON, alone or inside a report."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from showtell import __version__
from showtell.files.counts import count_of
from showtell.files.os_errors import error_reason
from showtell.files.regular_files import read_regular
from showtell.scoring import ScoringError
from showtell.scoring.metrics import PhotoScores, Scores

FORMAT_VERSION = 1
_MAX_BYTES = 1 << 30  # of a report or JSON file
ALL = "all"
DATA_ID = "showtell-evaluation"  # id of the script element with the JSON in a report
_EMBEDDED = re.compile(rf'<script type="application/json" id="{DATA_ID}">(.*?)</script>', re.DOTALL)


@dataclass(frozen=True)
class EvaluatedPhoto:
    """One photo with its caption, references and scores.

    `tokens` and `reference_tokens` are the input of the scorers. They are kept so that CIDEr can be
    computed again for a subset of the photos.
    """

    name: str
    path: str
    text: str
    log_probability: float
    confidence: float | None
    references: tuple[str, ...]
    tokens: str
    reference_tokens: tuple[str, ...]
    scores: PhotoScores


@dataclass(frozen=True)
class FailedPhoto:
    """A photo that could not be captioned, and the reason; no score includes it."""

    name: str
    path: str
    error: str


@dataclass(frozen=True)
class Evaluation:
    """One model's captions of one split, scored.

    `parts` maps "all", and for a large dev split also "first half" and "second half", to their
    scores. `limited` tells that only the first photos of the split were captioned. `seen`
    counts the photos that the model was trained on; it is None if the manifest does not list them.
    `length_penalty` is None in evaluations that older versions wrote. `language` is the BCP 47 tag
    of the captions' language.
    """

    model: str
    dataset: str
    split: str
    beam: int
    parts: dict[str, Scores]
    photos: tuple[EvaluatedPhoto, ...]
    failed: tuple[FailedPhoto, ...] = ()
    seen: int | None = None
    seconds: float = 0.0
    length_penalty: float | None = None
    limited: bool = False
    language: str = "en"
    written_by: str = f"showtell {__version__}"

    @property
    def scores(self) -> Scores:
        """The scores of all photos."""
        return self.parts[ALL]

    @property
    def photos_text(self) -> str:
        """The photos in words, such as "dev" or "the first 200 photos of dev"."""
        count = self.scores.photos + len(self.failed)
        return (
            f"the first {count_of(count, 'photo')} of {self.split}" if self.limited else self.split
        )

    @property
    def decoding(self) -> str:
        """The decoding options in words, such as "beam 3, length penalty 1"."""
        return decoding_text(self.beam, self.length_penalty)

    def summary(self) -> list[dict[str, Any]]:
        """Return one dict per part: its scores with split, decoding and scorer."""
        head = {
            "split": self.split,
            "limited": self.limited,
            "beam": self.beam,
            "length_penalty": self.length_penalty,
        }
        return [head | {"part": part} | scores.to_dict() for part, scores in self.parts.items()]

    def to_dict(self) -> dict[str, Any]:
        """Return the evaluation as plain JSON data; `scores` is the summary."""
        return {
            "showtell_evaluation": FORMAT_VERSION,
            "written_by": self.written_by,
            "model": self.model,
            "dataset": self.dataset,
            "split": self.split,
            "limited": self.limited,
            "language": self.language,
            "beam": self.beam,
            "length_penalty": self.length_penalty,
            "scorer": self.scores.scorer,
            "missing": list(self.scores.missing),
            "seen": self.seen,
            "seconds": round(self.seconds, 3),
            "scores": self.summary(),
            "failed": [dataclasses.asdict(photo) for photo in self.failed],
            "photos": [_compact(dataclasses.asdict(photo)) for photo in self.photos],
        }

    def to_json(self) -> str:
        """Return `to_dict` as JSON text with one photo per line; names need not be UTF-8."""
        data = self.to_dict()
        photos = ",\n".join(json.dumps(photo) for photo in data.pop("photos"))
        return f'{json.dumps(data, indent=1)[:-2]},\n "photos": [\n{photos}\n]}}\n'

    def captions_jsonl(self) -> str:
        """Return one JSON line per photo, captioned photos first, without scores."""
        keys = ("name", "path", "text", "log_probability", "confidence", "references", "error")
        photos = (*self.photos, *self.failed)
        lines = [{key: getattr(photo, key, None) for key in keys} for photo in photos]
        return "".join(json.dumps(line) + "\n" for line in lines)

    @classmethod
    def from_dict(cls, data: dict[str, Any], source: Path | str = "evaluation") -> Evaluation:
        """Return the evaluation that `to_dict` wrote.

        Raises ScoringError if `data` is something else or has a newer format.
        """
        try:
            version = int(data["showtell_evaluation"])
            if version > FORMAT_VERSION:
                raise ScoringError(
                    f"{source}: evaluation format {version} is newer than this showtell reads"
                    f" ({FORMAT_VERSION}): upgrade showtell"
                )
            photos = tuple(_photo(item) for item in data["photos"])
            parts = {item["part"]: _part(item, data["missing"]) for item in data["scores"]}
            per_photo = tuple(photo.scores for photo in photos)
            parts[ALL] = dataclasses.replace(parts[ALL], per_photo=per_photo)
            keys = ("model", "dataset", "split", "beam", "seen", "seconds", "written_by")
            return cls(
                parts=parts,
                photos=photos,
                failed=tuple(FailedPhoto(**item) for item in data["failed"]),
                length_penalty=data.get("length_penalty"),
                limited=bool(data.get("limited", False)),
                language=str(data.get("language", "en")),
                **{key: data[key] for key in keys},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ScoringError(
                f"{source}: not an evaluation, or a damaged one ({error!r})"
            ) from None


def decoding_text(beam: int, length_penalty: float | None) -> str:
    """Return decoding options in words, such as "beam 3, length penalty 1"."""
    return f"beam {beam}" + (
        "" if length_penalty is None else f", length penalty {length_penalty:g}"
    )


def read_evaluation(path: Path) -> Evaluation:
    """Read an evaluation from an HTML report or a JSON file of `showtell evaluate`.

    Raises ScoringError if the file is neither.
    """
    try:
        text = read_regular(path, _MAX_BYTES, or_pipe=True).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error_reason(error) if isinstance(error, OSError) else "not UTF-8 text"
        raise ScoringError(f"{path}: cannot be read ({reason})") from None
    if not text.lstrip().startswith("{"):
        embedded = _EMBEDDED.search(text)
        if embedded is None:
            raise ScoringError(f"{path}: neither a report nor a JSON file of showtell evaluate")
        text = embedded[1]
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise ScoringError(f"{path}: damaged: its JSON is incomplete") from None
    return Evaluation.from_dict(data, path)


def _compact(photo: dict[str, Any]) -> dict[str, Any]:
    """Shorten numbers: scores to four decimals, counts to integers."""
    scores = photo["scores"]
    for key, value in scores.items():
        if isinstance(value, float):
            scores[key] = round(value, 4)
        elif isinstance(value, tuple):
            scores[key] = [int(n) if n == int(n) else n for n in value]
    photo["log_probability"] = round(photo["log_probability"], 5)
    return photo


def _photo(data: dict[str, Any]) -> EvaluatedPhoto:
    scores = dict(data["scores"])
    counts = scores["meteor_counts"]
    scores["bleu_counts"] = tuple(map(float, scores["bleu_counts"]))
    scores["meteor_counts"] = None if counts is None else tuple(map(float, counts))
    texts = {key: tuple(data[key]) for key in ("references", "reference_tokens")}
    return EvaluatedPhoto(**{**data, **texts, "scores": PhotoScores(**scores)})


def _part(data: dict[str, Any], missing: list[str]) -> Scores:
    keys = {item.name for item in dataclasses.fields(Scores)} - {"missing", "per_photo"}
    values = {key: value for key, value in data.items() if key in keys}
    return Scores(**values, missing=tuple(missing))
