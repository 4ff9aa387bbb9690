"""MyST's directives in fences of Markdown: `{image}`, `{figure}`, and what they hold."""

from __future__ import annotations

import re
from dataclasses import dataclass

from showtell.alt.html_images import html_images
from showtell.alt.literal_directives import LITERAL
from showtell.alt.reference import AltSlot, ImageReference, LinkOfImage, Syntax

DIRECTIVE = re.compile(r"\{([\w:.-]+)\}\s*(.*)")
_IMAGES = frozenset({"image", "figure"})
_OPTION = re.compile(r":(\w[\w-]*):[ \t]*(.*)")
_YAML_OPTION = re.compile(r"(\w[\w-]*):(?=\s|$)[ \t]*(.*)")


def directive_images(
    name: str, argument: str, first_line: str, content: str
) -> list[ImageReference] | None:
    """Return the images of a directive, or None if its content is Markdown.

    Positions are those in `first_line`, the fence with its name, and `content` on the lines below.
    """
    if name in _IMAGES:
        return [_image(argument, first_line, content)]
    if name == "eval-rst":
        from showtell.alt.rst_images import rst_images  # docutils takes long to import

        return rst_images(f"{' ' * len(first_line)}\n{content}")
    if name == "raw" and argument.strip() == "html":
        return html_images(f"{' ' * len(first_line)}\n{content}")
    return [] if name in LITERAL else None


def _image(argument: str, first_line: str, content: str) -> ImageReference:
    options = _options(content, len(first_line) + 1)
    is_yaml = content.startswith("---")
    alt, target = options.get("alt"), options.get("target")
    syntax: Syntax = "yaml" if is_yaml else "option"
    if alt is None:
        position = len(first_line) + (len("\n---") if is_yaml else 0)
        slot = AltSlot(position, position, "\nalt: " if is_yaml else "\n:alt: ", "", syntax)
    else:
        slot = AltSlot(alt.start, alt.end, "" if alt.is_spaced else " ", "", syntax)
    return ImageReference(
        kind="directive",
        start=0,
        end=len(first_line),
        sources=(argument.strip(),),
        alt=None if alt is None else alt.value,
        link=LinkOfImage(target.value, has_other_name=False) if target else None,
        slot=slot,
    )


@dataclass(frozen=True, slots=True)
class _Option:
    """An option's value and where it stands; `is_spaced` means that a space is in front of it."""

    value: str
    start: int
    end: int
    is_spaced: bool


def _options(content: str, offset: int) -> dict[str, _Option]:
    """Return the options above the body of a directive; `offset` is where the content begins.

    A value ends at the next option, an empty line or the end of the block.
    """
    options: dict[str, _Option] = {}
    lines = content.split("\n")
    is_yaml = lines[0].strip() == "---"
    pattern = _YAML_OPTION if is_yaml else _OPTION
    name = ""
    for number, line in enumerate(lines):
        match = pattern.match(line)
        if is_yaml and number == 0:
            pass
        elif match is not None:
            name, start = match[1], offset + match.start(2)
            value = match[2].strip()
            end = start + len(match[2].rstrip())
            is_spaced = line[: match.start(2)].endswith(" ")
            options[name] = _Option(value.strip("\"'"), start, end, is_spaced)
        elif name and line.startswith((" ", "\t")) and line.strip():  # the value goes on
            last = options[name]
            value = f"{last.value} {line.strip()}".strip()
            options[name] = _Option(value, last.start, offset + len(line.rstrip()), last.is_spaced)
        else:
            break
        offset += len(line) + 1
    return options
