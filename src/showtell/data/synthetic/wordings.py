"""The words for scenes of shapes, by language.

The languages are those whose words have no gender, number or case here, so that a sentence is a
template with words in it. Chinese and Japanese have no spaces between words.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wordings:
    """The words of one language for shapes, and templates for sentences about them.

    A value of several words is drawn from, and the first one is the canonical one. `noun` puts the
    words of a shape together. `alone` and `related` are the canonical sentences about one shape and
    about two; `for_one` and `for_two` have four groups of other sentences each. In them, `{a}` and
    `{b}` are the shapes, `{relation}`, `{synonym}` and `{converse}` words for their relation.
    """

    kinds: dict[str, str]
    colours: dict[str, str]
    sizes: dict[str, tuple[str, ...]]
    relations: dict[str, tuple[str, ...]]
    converses: dict[str, tuple[str, ...]]
    noun: str
    alone: str
    related: str
    for_one: tuple[tuple[str, ...], ...]
    for_two: tuple[tuple[str, ...], ...]


# Every other wording is rarer than the canonical one, because one word is drawn from several, or
# shorter. So a trained network gives the canonical caption the highest probability, also after
# division by length.
_ENGLISH = Wordings(
    kinds={"circle": "circle", "square": "square", "triangle": "triangle"},
    colours={"red": "red", "green": "green", "blue": "blue", "yellow": "yellow"},
    # the canonical wording names the size of small shapes only
    sizes={"small": ("small", "little", "tiny"), "large": ("", "large", "big")},
    relations={
        "above": ("above", "over"),
        "left of": ("left of", "to the left of"),
        "inside": ("inside", "within"),
    },
    converses={
        "above": ("below", "under"),
        "left of": ("right of", "to the right of"),
        "inside": ("around", "surrounding"),
    },
    noun="a {size} {colour} {kind}",
    alone="{a} on its own",
    related="{a} {relation} {b}",
    for_one=(
        ("{a}",),
        ("just {a}", "only {a}"),
        ("{a} and nothing else",),
        ("a {kind_a} that is {colour_a}", "one {colour_a} {kind_a}"),
    ),
    for_two=(
        ("{a} {synonym} {b}",),
        ("{a} and {b}",),
        ("{b} {converse} {a}",),
        ("a {kind_a} {relation} a {kind_b}", "a {colour_a} shape {relation} a {colour_b} shape"),
    ),
)
_CHINESE = Wordings(
    kinds={"circle": "圆形", "square": "正方形", "triangle": "三角形"},
    colours={"red": "红色", "green": "绿色", "blue": "蓝色", "yellow": "黄色"},
    sizes={"small": ("小", "小小的"), "large": ("", "大")},
    relations={
        "above": ("上面", "上方"),
        "left of": ("左边", "左侧"),
        "inside": ("里面", "内部"),
    },
    converses={
        "above": ("下面", "下方"),
        "left of": ("右边", "右侧"),
        "inside": ("外面", "周围"),
    },
    noun="一个{size}{colour}{kind}",
    alone="只有{a}",
    related="{a}在{b}{relation}",
    for_one=(
        ("{a}",),
        ("这是{a}", "图中有{a}"),
        ("{a}，没有别的",),
        ("一个{kind_a}，是{colour_a}的", "{colour_a}的{kind_a}"),
    ),
    for_two=(
        ("{a}在{b}{synonym}",),
        ("{a}和{b}",),
        ("{b}在{a}{converse}",),
        ("一个{kind_a}在一个{kind_b}{relation}", "{colour_a}的形状在{colour_b}的形状{relation}"),
    ),
)
_JAPANESE = Wordings(
    kinds={"circle": "丸", "square": "四角", "triangle": "三角"},
    colours={"red": "赤い", "green": "緑の", "blue": "青い", "yellow": "黄色い"},
    sizes={"small": ("小さい", "小さな"), "large": ("", "大きい")},
    relations={
        "above": ("上に", "上の方に"),
        "left of": ("左に", "左側に"),
        "inside": ("中に", "内側に"),
    },
    converses={
        "above": ("下に", "下の方に"),
        "left of": ("右に", "右側に"),
        "inside": ("外に", "周りに"),
    },
    noun="{size}{colour}{kind}",
    alone="{a}だけがある",
    related="{b}の{relation}{a}がある",
    for_one=(
        ("{a}",),
        ("{a}が一つ", "一つの{a}"),
        ("{a}のほかには何もない",),
        ("{kind_a}は{colour_a}色", "{colour_a}{kind_a}"),
    ),
    for_two=(
        ("{b}の{synonym}{a}がある",),
        ("{a}と{b}",),
        ("{a}の{converse}{b}がある",),
        ("{kind_b}の{relation}{kind_a}がある", "{colour_b}形の{relation}{colour_a}形がある"),
    ),
)
WORDINGS = {"en": _ENGLISH, "ja": _JAPANESE, "zh": _CHINESE}
