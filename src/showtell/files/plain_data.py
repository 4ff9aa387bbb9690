"""Parse JSON and YAML strictly, with errors that name the source.

Text must be valid Unicode, and JSON at most 100 levels deep.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from showtell.errors import ShowtellError
from showtell.files.shown_settings import shown_value

ErrorType = type[ShowtellError]
_MOST_LISTS, _MOST_VALUES = 100_000, 1_000_000  # of JSON, by its brackets and commas
_DEEPEST = 100  # levels of JSON; Python's own limits come later and differ


def parse_json(text: str | bytes, *, error: ErrorType, source: str | Path) -> Any:
    """Parse JSON text; raises `error`, naming the source, if it is not valid JSON.

    NaN and Infinity are not valid JSON. A key that occurs twice is an error too, and so is half
    a surrogate pair, which no file or terminal takes. Text with millions of values is refused
    before it is parsed, because each takes many times its characters in memory.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        if text.count("[") + text.count("{") > _MOST_LISTS or text.count(",") > _MOST_VALUES:
            raise error(f"{source}: too many values to be read")
        data = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique_keys)
        if _is_deep(data):
            raise error(f"{source}: nested too deeply")
        if "\\ud" in text.lower():
            json.dumps(data, ensure_ascii=False).encode()
        return data
    except UnicodeEncodeError:
        raise error(f"{source}: holds half a surrogate pair, which is not text") from None
    except UnicodeDecodeError as problem:
        raise error(f"{source}: not UTF-8 text (byte {problem.start})") from None
    except RecursionError:
        raise error(f"{source}: nested too deeply") from None
    except ValueError as problem:
        raise error(f"{source}: not valid JSON ({problem})") from None


def parse_yaml(text: str, *, error: ErrorType, source: str | Path) -> Any:
    """Parse YAML text; raises `error`, naming the source, if it is not valid YAML."""
    import yaml  # only the extra `train` installs it

    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise error(f"{source}: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as problem:
        raise error(f"{source}: not valid YAML ({' '.join(str(problem).split())})") from None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {shown_value(twice)} occurs twice")
    return data


def _is_deep(data: Any) -> bool:
    """Return whether lists and dicts are nested more than `_DEEPEST` levels."""
    level = [data] if isinstance(data, dict | list) else []
    for _ in range(_DEEPEST):
        children = (parent.values() if isinstance(parent, dict) else parent for parent in level)
        level = [item for child in children for item in child if isinstance(item, dict | list)]
        if not level:
            return False
    return True
