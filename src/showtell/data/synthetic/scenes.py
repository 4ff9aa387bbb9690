"""Scenes of one or two shapes, and true sentences about them.

The sentences are simple on purpose: a network of a few layers learns them in a minute or two, and a
test can check a caption against its scene word by word.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, replace
from typing import Any

from showtell.data.readers.splits import split_by_hash

KINDS = ("circle", "square", "triangle")
COLOURS = ("red", "green", "blue", "yellow")
SIZES = ("small", "large")
RELATIONS = ("above", "left of", "inside")

# Half of a shape's extent, as a fraction of the photo's side.
_RADII = {"small": 0.10, "large": 0.20}
_MARGIN, _GAP = 0.02, 0.04
# The first wording is the canonical one: it names the size of small shapes only.
_SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("", "large", "big")}
_WORDINGS = {
    "above": ("above", "over"),
    "left of": ("left of", "to the left of"),
    "inside": ("inside", "within"),
}
_CONVERSES = {
    "above": ("below", "under"),
    "left of": ("right of", "to the right of"),
    "inside": ("around", "surrounding"),
}
# Every other wording is rarer than the canonical one, because one word is drawn from several, or
# shorter. So a trained network gives the canonical caption the highest probability, also after
# division by length.
_TEMPLATES_FOR_ONE = (
    ("{a}",),
    ("just {a}", "only {a}"),
    ("{a} and nothing else",),
    ("a {kind_a} that is {colour_a}", "one {colour_a} {kind_a}"),
)
_TEMPLATES_FOR_TWO = (
    ("{a} {synonym} {b}",),
    ("{a} and {b}",),
    ("{b} {converse} {a}",),
    ("a {kind_a} {relation} a {kind_b}", "a {colour_a} shape {relation} a {colour_b} shape"),
)


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


def canonical_caption(scene: Scene) -> str:
    """Return the caption that a rule gives the scene: the upper or left shape comes first."""
    nouns = [_noun(shape, _SIZE_WORDS[shape.size][0]) for shape in scene.shapes]
    if scene.relation is None:
        return f"{nouns[0]} on its own"
    return f"{nouns[0]} {_WORDINGS[scene.relation][0]} {nouns[1]}"


def draw_captions(rng: random.Random, scene: Scene) -> list[str]:
    """Return five differently worded true captions of a scene, the canonical one first."""
    words: dict[str, str] = {}
    for letter, shape in zip("ab", scene.shapes, strict=False):
        words |= {f"kind_{letter}": shape.kind, f"colour_{letter}": shape.colour}
    captions = [canonical_caption(scene)]
    for templates in _TEMPLATES_FOR_ONE if scene.relation is None else _TEMPLATES_FOR_TWO:
        for letter, shape in zip("ab", scene.shapes, strict=False):
            words[letter] = _noun(shape, rng.choice(_SIZE_WORDS[shape.size]))
        if scene.relation is not None:
            words["relation"], *synonyms = _WORDINGS[scene.relation]
            words["synonym"] = rng.choice(synonyms)
            words["converse"] = rng.choice(_CONVERSES[scene.relation])
        captions.append(rng.choice(templates).format(**words))
    return captions


def _noun(shape: Shape, size_word: str) -> str:
    return " ".join(word for word in ("a", size_word, shape.colour, shape.kind) if word)


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
