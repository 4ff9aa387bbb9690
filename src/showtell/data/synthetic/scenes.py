"""Scenes of one or two shapes, and the sentences that are true of them.

What can be said is small on purpose: a network of a few layers learns it in a minute or two, and a
caption can be checked word by word against the scene it is about.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, replace
from typing import Any

from showtell.data.readers.listing import split_by_hash

KINDS = ("circle", "square", "triangle")
COLOURS = ("red", "green", "blue", "yellow")
SIZES = ("small", "large")
RELATIONS = ("above", "left of", "inside")

# Half of a shape's extent, as a part of the photo's side.
_RADII = {"small": 0.10, "large": 0.20}
_MARGIN, _GAP = 0.02, 0.04
# The first wording of each is the canonical one: only what is small is called by its size.
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
# Every other wording is shorter than the canonical one or rarer, by a word drawn from several:
# so the canonical caption is what a trained network finds likeliest, also divided by length.
_OF_ONE = (
    ("{a}",),
    ("just {a}", "only {a}"),
    ("{a} and nothing else",),
    ("a {kind_a} that is {colour_a}", "one {colour_a} {kind_a}"),
)
_OF_TWO = (
    ("{a} {synonym} {b}",),
    ("{a} and {b}",),
    ("{b} {converse} {a}",),
    ("a {kind_a} {relation} a {kind_b}", "a {colour_a} shape {relation} a {colour_b} shape"),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """A coloured shape; centre and radius are parts of the photo's side, y counts downwards."""

    kind: str
    colour: str
    size: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True, slots=True)
class Scene:
    """One shape, or two with the relation of the first to the second."""

    shapes: tuple[Shape, ...]
    relation: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the scene as plain JSON data."""
        return asdict(self)


def draw_scene(chance: random.Random, split: str) -> Scene:
    """Draw a scene that belongs to a split.

    What a scene's canonical caption says decides its split, whatever the seed: nothing that is
    asked in dev or test was ever shown in train, only its parts were.
    """
    while True:
        relation = chance.choices((None, *RELATIONS), weights=(1, 2, 2, 1))[0]
        first, second = _any_shape(chance), _any_shape(chance)
        if relation is None:
            x, y = _place(chance, first.radius), _place(chance, first.radius)
            scene = Scene((_moved(first, x, y),))
        elif relation == "inside":  # only small fits into large
            scene = _nested(chance, _sized(first, "small"), _sized(second, "large", 1.25))
        else:
            scene = _apart(chance, first, second, relation)
        if len({shape.colour for shape in scene.shapes}) < len(scene.shapes):
            continue  # two shapes of one colour could not be told apart
        if split_by_hash(canonical_caption(scene)) == split:
            return scene


def canonical_caption(scene: Scene) -> str:
    """Return the one caption that the scene has by rule: what is above or left comes first."""
    nouns = [_noun(shape, _SIZE_WORDS[shape.size][0]) for shape in scene.shapes]
    if scene.relation is None:
        return f"{nouns[0]} on its own"
    return f"{nouns[0]} {_WORDINGS[scene.relation][0]} {nouns[1]}"


def draw_captions(chance: random.Random, scene: Scene) -> list[str]:
    """Return five differently worded true captions of a scene, the canonical one first."""
    words: dict[str, str] = {}
    for letter, shape in zip("ab", scene.shapes, strict=False):
        words |= {f"kind_{letter}": shape.kind, f"colour_{letter}": shape.colour}
    captions = [canonical_caption(scene)]
    for templates in _OF_ONE if scene.relation is None else _OF_TWO:
        for letter, shape in zip("ab", scene.shapes, strict=False):
            words[letter] = _noun(shape, chance.choice(_SIZE_WORDS[shape.size]))
        if scene.relation is not None:
            words["relation"], *synonyms = _WORDINGS[scene.relation]
            words["synonym"] = chance.choice(synonyms)
            words["converse"] = chance.choice(_CONVERSES[scene.relation])
        captions.append(chance.choice(templates).format(**words))
    return captions


def _noun(shape: Shape, size_word: str) -> str:
    return " ".join(word for word in ("a", size_word, shape.colour, shape.kind) if word)


def _any_shape(chance: random.Random) -> Shape:
    shape = Shape(chance.choice(KINDS), chance.choice(COLOURS), "", 0.5, 0.5, 0.0)
    return _sized(shape, chance.choice(SIZES), chance.uniform(0.95, 1.05))


def _sized(shape: Shape, size: str, factor: float = 1.0) -> Shape:
    return replace(shape, size=size, radius=round(_RADII[size] * factor, 4))


def _moved(shape: Shape, x: float, y: float) -> Shape:
    return replace(shape, x=round(x, 4), y=round(y, 4))


def _place(chance: random.Random, radius: float) -> float:
    return chance.uniform(_MARGIN + radius, 1 - _MARGIN - radius)


def _nested(chance: random.Random, first: Shape, second: Shape) -> Scene:
    """Put the first into the middle of the largest circle that fits into the second."""
    x, y = _place(chance, second.radius), _place(chance, second.radius)
    lower = 0.185 * second.radius if second.kind == "triangle" else 0.0
    return Scene((_moved(first, x, y + lower), _moved(second, x, y)), "inside")


def _apart(chance: random.Random, first: Shape, second: Shape, relation: str) -> Scene:
    """Put the first above or left of the second: along that axis clear of it, else about level."""
    room = 1 - 2 * (_MARGIN + first.radius + second.radius) - _GAP
    before, after = sorted((chance.uniform(0, room), chance.uniform(0, room)))
    along = _MARGIN + before + first.radius, 1 - _MARGIN - (room - after) - second.radius
    level = _place(chance, max(first.radius, second.radius) + 0.05)
    across = level + chance.uniform(-0.05, 0.05), level + chance.uniform(-0.05, 0.05)
    places = list(zip(across, along, strict=True))
    if relation == "left of":
        places = [(y, x) for x, y in places]
    return Scene((_moved(first, *places[0]), _moved(second, *places[1])), relation)
