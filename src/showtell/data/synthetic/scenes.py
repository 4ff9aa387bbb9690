"""Scenes of one or two shapes, and true sentences about them.

The sentences are simple on purpose: a network of a few layers learns them in a minute or two, and a
test can check a caption against its scene word by word.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, replace
from typing import Any

from showtell.data.readers.splits import split_by_hash
from showtell.data.synthetic.wordings import WORDINGS, Wordings

KINDS = ("circle", "square", "triangle")
COLOURS = ("red", "green", "blue", "yellow")
SIZES = ("small", "large")
RELATIONS = ("above", "left of", "inside")

# Half of a shape's extent, as a fraction of the photo's side.
_RADII = {"small": 0.10, "large": 0.20}
_MARGIN, _GAP = 0.02, 0.04


@dataclass(frozen=True, slots=True)
class Shape:
    """A coloured shape; centre and radius are fractions of the photo's side, y points down."""

    kind: str
    colour: str
    size: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True, slots=True)
class Scene:
    """One shape, or two shapes and the relation of the first to the second."""

    shapes: tuple[Shape, ...]
    relation: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the scene as plain JSON data."""
        return asdict(self)


def draw_scene(rng: random.Random, split: str) -> Scene:
    """Draw a scene that belongs to a split.

    The hash of the canonical caption decides a scene's split, for every seed. So no scene of dev or
    test occurs in train; only its shapes and relations do.
    """
    while True:
        relation = rng.choices((None, *RELATIONS), weights=(1, 2, 2, 1))[0]
        first, second = _draw_shape(rng), _draw_shape(rng)
        if relation is None:
            x, y = _draw_coordinate(rng, first.radius), _draw_coordinate(rng, first.radius)
            scene = Scene((_moved(first, x, y),))
        elif relation == "inside":  # only a small shape fits into a large one
            scene = _nested(rng, _sized(first, "small"), _sized(second, "large", 1.25))
        else:
            scene = _side_by_side(rng, first, second, relation)
        if len({shape.colour for shape in scene.shapes}) < len(scene.shapes):
            continue  # two shapes of one colour would be ambiguous
        if split_by_hash(canonical_caption(scene)) == split:
            return scene


def canonical_caption(scene: Scene, language: str = "en") -> str:
    """Return the caption that a rule gives the scene: the upper or left shape comes first."""
    wordings = WORDINGS[language]
    nouns = [_noun(shape, wordings.sizes[shape.size][0], wordings) for shape in scene.shapes]
    if scene.relation is None:
        return wordings.alone.format(a=nouns[0])
    relation = wordings.relations[scene.relation][0]
    return wordings.related.format(a=nouns[0], b=nouns[1], relation=relation)


def draw_captions(rng: random.Random, scene: Scene, language: str = "en") -> list[str]:
    """Return five differently worded true captions of a scene, the canonical one first."""
    wordings = WORDINGS[language]
    words: dict[str, str] = {}
    for letter, shape in zip("ab", scene.shapes, strict=False):
        words[f"kind_{letter}"] = wordings.kinds[shape.kind]
        words[f"colour_{letter}"] = wordings.colours[shape.colour]
    captions = [canonical_caption(scene, language)]
    for templates in wordings.for_one if scene.relation is None else wordings.for_two:
        for letter, shape in zip("ab", scene.shapes, strict=False):
            words[letter] = _noun(shape, rng.choice(wordings.sizes[shape.size]), wordings)
        if scene.relation is not None:
            words["relation"], *synonyms = wordings.relations[scene.relation]
            words["synonym"] = rng.choice(synonyms)
            words["converse"] = rng.choice(wordings.converses[scene.relation])
        captions.append(rng.choice(templates).format(**words))
    return captions


def _noun(shape: Shape, size_word: str, wordings: Wordings) -> str:
    colour, kind = wordings.colours[shape.colour], wordings.kinds[shape.kind]
    noun = wordings.noun.format(size=size_word, colour=colour, kind=kind)
    return " ".join(noun.split())  # no gap where the size is not named


def _draw_shape(rng: random.Random) -> Shape:
    shape = Shape(rng.choice(KINDS), rng.choice(COLOURS), "", 0.5, 0.5, 0.0)
    return _sized(shape, rng.choice(SIZES), rng.uniform(0.95, 1.05))


def _sized(shape: Shape, size: str, factor: float = 1.0) -> Shape:
    return replace(shape, size=size, radius=round(_RADII[size] * factor, 4))


def _moved(shape: Shape, x: float, y: float) -> Shape:
    return replace(shape, x=round(x, 4), y=round(y, 4))


def _draw_coordinate(rng: random.Random, radius: float) -> float:
    """Draw one coordinate of a centre, so that the shape stays inside the photo."""
    return rng.uniform(_MARGIN + radius, 1 - _MARGIN - radius)


def _nested(rng: random.Random, first: Shape, second: Shape) -> Scene:
    """Put the first shape into the middle of the largest circle inside the second."""
    x, y = _draw_coordinate(rng, second.radius), _draw_coordinate(rng, second.radius)
    lower = 0.185 * second.radius if second.kind == "triangle" else 0.0
    return Scene((_moved(first, x, y + lower), _moved(second, x, y)), "inside")


def _side_by_side(rng: random.Random, first: Shape, second: Shape, relation: str) -> Scene:
    """Put the first shape above or left of the second, with a gap between them."""
    room = 1 - 2 * (_MARGIN + first.radius + second.radius) - _GAP
    before, after = sorted((rng.uniform(0, room), rng.uniform(0, room)))
    along = _MARGIN + before + first.radius, 1 - _MARGIN - (room - after) - second.radius
    level = _draw_coordinate(rng, max(first.radius, second.radius) + 0.05)
    across = level + rng.uniform(-0.05, 0.05), level + rng.uniform(-0.05, 0.05)
    centres = list(zip(across, along, strict=True))
    if relation == "left of":
        centres = [(y, x) for x, y in centres]
    return Scene((_moved(first, *centres[0]), _moved(second, *centres[1])), relation)
