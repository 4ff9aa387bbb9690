"""Keys and values of settings as messages about them show them: short, on one line."""

from __future__ import annotations

from typing import Any

from showtell.files.printable_names import printable

TYPE_NAMES = {
    type(None): "null",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    list: "a list",
    tuple: "a list",
    dict: "a mapping",
}
_LONGEST_VALUE = 60  # characters of a wrong value or key that a message shows


def join_key(key_path: str, name: str) -> str:
    """Return the dotted path of a key, whose own name is made short and safe to print."""
    if len(name) > _LONGEST_VALUE or not name.isprintable():
        name = printable(name[:_LONGEST_VALUE]) + ("..." if len(name) > _LONGEST_VALUE else "")
    return f"{key_path}.{name}" if key_path else name


def shown_value(value: Any) -> str:
    """Return a wrong value for a message: short, on one line."""
    if isinstance(value, dict | list | tuple | None):
        return TYPE_NAMES[type(value)]
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = "a number of thousands of digits"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
