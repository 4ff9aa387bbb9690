"""Suggest alternative texts: captions of the images that a check has found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from showtell.alt.check import AltFinding
from showtell.alt.html_sources import is_image_address
from showtell.alt.local_images import LocalImage, local_image
from showtell.alt.suggestion import Suggestion

if TYPE_CHECKING:
    from showtell.captioner import Captioner

_WITHOUT_TEXT = frozenset({"missing-alt", "linked-image", "file-name", "placeholder", "empty-alt"})
_SHOW_IMAGES = frozenset({"img", "markdown", "directive", "object"})
_BATCH = 16

Captioned = tuple[AltFinding, Suggestion | None]


def suggest(
    findings: Iterable[AltFinding],
    *,
    load_captioner: Callable[[], Captioner],
    min_confidence: float = 0.0,
    site_root: Path | None = None,
) -> Iterator[Captioned]:
    """Yield findings with their suggestions, in order; None where the rule asks for no new text.

    An image is captioned once, however often it occurs. The model is loaded when the first image
    needs it. A suggestion with a confidence under `min_confidence` has no text. An address that
    begins with `/` is looked for in `site_root` (see `local_image`).
    """
    captions = _Captions(load_captioner)
    batch: list[tuple[AltFinding, LocalImage | None]] = []
    for finding in findings:
        batch.append((finding, _image_of(finding, site_root)))
        if len(batch) == _BATCH:
            yield from _finished(batch, captions, min_confidence)
            batch = []
    yield from _finished(batch, captions, min_confidence)


def _image_of(finding: AltFinding, site_root: Path | None) -> LocalImage | None:
    reference = finding.reference
    if finding.problem.rule.id not in _WITHOUT_TEXT:
        return None
    if reference.kind == "input":
        return LocalImage(reason="the text has to say what the button does")
    if reference.kind == "area":
        return LocalImage(reason="the text has to say where the area leads")
    if reference.kind not in _SHOW_IMAGES:
        return LocalImage(reason="not an image file")
    return local_image(finding, site_root)


def _finished(
    batch: list[tuple[AltFinding, LocalImage | None]], captions: _Captions, min_confidence: float
) -> Iterator[Captioned]:
    captions.add([image for _, image in batch if image is not None and not image.reason])
    for finding, image in batch:
        suggestion = None
        if image is not None:
            suggestion = Suggestion(reason=image.reason) if image.reason else captions.of(image)
            confidence = suggestion.confidence
            if confidence is not None and confidence < min_confidence:
                reason = f"confidence {confidence:.2f} is under {min_confidence:g}"
                suggestion = Suggestion(None, confidence, suggestion.image, reason)
            elif suggestion.text is not None and _names_a_target(finding):
                reason = "the text has to say where the link leads"
                suggestion = Suggestion(suggestion.text, confidence, suggestion.image, reason)
        yield finding, suggestion


def _names_a_target(finding: AltFinding) -> bool:
    """Return whether the text names a link, and that does not lead to an image."""
    link = finding.reference.link
    return link is not None and not link.has_other_name and not is_image_address(link.target)


class _Captions:
    """The captions of images, each captioned once."""

    def __init__(self, load_captioner: Callable[[], Captioner]) -> None:
        self._load = load_captioner
        self._captioner: Captioner | None = None
        self._suggestions: dict[Path | bytes, Suggestion] = {}

    def add(self, images: list[LocalImage]) -> None:
        """Caption those images that have no caption yet."""
        new = dict.fromkeys(image.path or image.data or b"" for image in images)
        photos = [photo for photo in new if photo not in self._suggestions]
        if not photos:
            return
        if self._captioner is None:
            self._captioner = self._load()
        captions = self._captioner.caption(photos)
        for photo, caption in zip(photos, captions, strict=True):
            path = photo if isinstance(photo, Path) else None
            reason = "" if caption.error is None else caption.error
            self._suggestions[photo] = Suggestion(caption.text, caption.confidence, path, reason)

    def of(self, image: LocalImage) -> Suggestion:
        """Return the caption of an image as a suggestion."""
        return self._suggestions[image.path or image.data or b""]
