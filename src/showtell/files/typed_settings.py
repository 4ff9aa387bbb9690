"""Load plain data into a dataclass, and check every key and value.

`load_settings` reads recipes, manifests, preprocessing, decoding defaults and encoder settings.
Types come from the dataclass. The metadata of a field adds what a type cannot say:

- `ge`, `gt`, `le`, `lt`: bounds of a number, or of every number in a tuple, list or dict
- `longest`: the largest number of characters of a text, or of items of a tuple, list or dict
- `old_names`: names that the key had in earlier versions
- `old_values`: earlier names of a text value, mapped to the current ones
- `complete`: the nested dataclass must have every key, even those with defaults

    beam: int = field(default=3, metadata={"ge": 1, "le": 100})

Old names and values are read with a warning that gives the new one. Checks that involve several
fields belong to the dataclass's `__post_init__`: it raises a ShowtellError or a ValueError whose
text starts with the field's name, and the loader puts the file and the parent keys in front.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import numbers
import operator
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from showtell.errors import ShowtellError
from showtell.files.plain_data import ErrorType
from showtell.files.shown_settings import TYPE_NAMES, join_key, shown_value

logger = logging.getLogger(__name__)

T = TypeVar("T")
_LIMITS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "ge": (operator.ge, "at least"),
    "gt": (operator.gt, "above"),
    "le": (operator.le, "at most"),
    "lt": (operator.lt, "below"),
}
_NOTHING: Mapping[str, Any] = {}


def load_settings(
    kind: type[T],
    data: object,
    *,
    error: ErrorType,
    source: str | Path = "",
    from_yaml: bool = False,
    ignore_unknown: bool = False,
) -> T:
    """Build the dataclass `kind` from plain data, with every key and value checked.

    A field may be a bool, int, float (which takes an int), str, Literal, tuple, list,
    dict[str, ...], another dataclass, one of these or None, or Any. Numbers must be finite.

    `source` is the file that messages name. `from_yaml` also reads numbers from text, because
    YAML parses 8e-4 as text, and reads text from numbers. `ignore_unknown` skips unknown keys, for
    files of a newer version.

    Raises `error`, naming the file and the dotted key, for a missing or unknown key and for a
    value of the wrong type or out of range.
    """
    loader = _Loader(error, str(source), from_yaml, ignore_unknown)
    return loader.dataclass(kind, data, "")


def check_limits(settings: object, error: type[Exception] = ValueError) -> None:
    """Check the types and bounds of the numbers in a dataclass that was built in Python.

    Meant for `__post_init__`. NumPy's numbers count as Python's. Raises `error`, naming the field.
    """
    types_of = get_type_hints(type(settings))
    for field in _fields(type(settings)):
        value = getattr(settings, field.name)
        message = _wrong_number(types_of[field.name], value)
        if message:
            raise error(f"{field.name}: {message}")
        for key, number in _numbers(value, field.name):
            message = _out_of_range(number, field.metadata)
            if message:
                raise error(f"{key}: {message}")


def check_integer(name: str, value: object, *, most: int | None = None) -> None:
    """Raise ValueError, naming the argument, if it is not an integer from 1 to `most`."""
    message = _wrong_number(int, value)
    if message:
        raise ValueError(f"{name}: {message}")
    if most is not None and not 1 <= value <= most:  # type: ignore[operator]
        raise ValueError(f"{name}: must be from 1 to {most}, not {value}")
    if value < 1:  # type: ignore[operator]
        raise ValueError(f"{name}: must be at least 1, not {value}")


@dataclasses.dataclass(frozen=True)
class _Loader:
    """Checks one file.

    `key_path` is the dotted key of the value that a method checks, empty for the whole file.
    """

    error: ErrorType
    source: str
    from_yaml: bool
    ignore_unknown: bool

    def fail(self, key_path: str, text: str) -> ShowtellError:
        return self.error(": ".join(part for part in (self.source, key_path, text) if part))

    def dataclass(self, kind: type[T], data: object, key_path: str, *, complete: bool = False) -> T:
        if not isinstance(data, dict):
            raise self.fail(key_path, f"must be a mapping, not {shown_value(data)}")
        fields = {field.name: field for field in _fields(kind)}
        types_of = get_type_hints(kind)
        values = {}
        for name, value in self.renamed(fields, data, key_path).items():
            if name in fields:
                key = join_key(key_path, name)
                values[name] = self.value(types_of[name], value, key, fields[name].metadata)
            elif not self.ignore_unknown:
                raise self.fail(join_key(key_path, str(name)), f"unknown key{_hint(name, fields)}")
        for name, field in fields.items():
            if name not in values and (complete or _is_required(field)):
                raise self.fail(join_key(key_path, name), "missing")
        try:
            return kind(**values)
        except (ShowtellError, ValueError) as problem:
            text = str(problem)
            starts_with_field = text.partition(":")[0].partition(".")[0] in fields
            prefix = f"{key_path}." if key_path and starts_with_field else ""
            raise self.fail("" if prefix else key_path, prefix + text) from None

    def renamed(
        self, fields: Mapping[str, dataclasses.Field[Any]], data: dict[Any, Any], key_path: str
    ) -> dict[Any, Any]:
        """Return `data` with the current names of its keys; log a warning for each old name."""
        current = {
            old: name for name, f in fields.items() for old in f.metadata.get("old_names", ())
        }
        result = {}
        for key, value in data.items():
            name = current.get(key, key) if isinstance(key, str) else key
            if name != key:
                old_key = join_key(key_path, key)
                if name in data:
                    raise self.fail(old_key, f"the old name of '{name}': remove one")
                self.warn(f"'{old_key}' is now called '{name}'")
            result[name] = value
        return result

    def warn(self, text: str) -> None:
        logger.warning("%s", f"{self.source}: {text}" if self.source else text)

    def value(self, kind: Any, value: Any, key_path: str, metadata: Mapping[str, Any]) -> Any:
        origin, arguments = get_origin(kind), get_args(kind)
        if kind is Any:
            return value
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return self.dataclass(kind, value, key_path, complete="complete" in metadata)
        if origin in (Union, types.UnionType):
            return self.optional(arguments, value, key_path, metadata)
        if origin is Literal:
            return self.choice(arguments, value, key_path, metadata)
        if origin in (tuple, list):
            return self.sequence(origin, arguments, value, key_path, metadata)
        if origin is dict:
            return self.mapping(arguments[1], value, key_path, metadata)
        return self.scalar(kind, value, key_path, metadata)

    def optional(
        self, kinds: tuple[Any, ...], value: Any, key_path: str, metadata: Mapping[str, Any]
    ) -> Any:
        if value is None and type(None) in kinds:
            return None
        [kind] = [kind for kind in kinds if kind is not type(None)]
        return self.value(kind, value, key_path, metadata)

    def choice(
        self, choices: tuple[Any, ...], value: Any, key_path: str, metadata: Mapping[str, Any]
    ) -> Any:
        renamed = metadata.get("old_values", _NOTHING)
        if isinstance(value, str) and value in renamed:
            self.warn(f"{key_path}: '{value}' is now called '{renamed[value]}'")
            value = renamed[value]
        if not any(value == choice and type(value) is type(choice) for choice in choices):
            listed = ", ".join(map(str, choices))
            raise self.fail(key_path, f"must be one of {listed}, not {shown_value(value)}")
        return value

    def sequence(
        self,
        container: type,
        kinds: tuple[Any, ...],
        value: Any,
        key_path: str,
        metadata: Mapping[str, Any],
    ) -> Any:
        if not isinstance(value, list | tuple):
            raise self.fail(key_path, f"must be a list, not {shown_value(value)}")
        self.check_length(value, key_path, metadata, "values")
        if container is list or kinds[1:] == (...,):
            kinds = kinds[:1] * len(value)
        elif len(value) != len(kinds):
            raise self.fail(key_path, f"must have {len(kinds)} values, not {len(value)}")
        if all(type(item) is kind is str for kind, item in zip(kinds, value, strict=True)):
            return container(value)  # a vocabulary has thousands of words
        return container(
            self.value(kind, item, join_key(key_path, str(index)), metadata)
            for index, (kind, item) in enumerate(zip(kinds, value, strict=True))
        )

    def mapping(self, kind: Any, value: Any, key_path: str, metadata: Mapping[str, Any]) -> Any:
        if not isinstance(value, dict):
            raise self.fail(key_path, f"must be a mapping, not {shown_value(value)}")
        self.check_length(value, key_path, metadata, "keys")
        for key in value:
            if not isinstance(key, str):
                raise self.fail(key_path, f"the key {shown_value(key)} must be text")
        return {
            key: self.value(kind, item, join_key(key_path, key), metadata)
            for key, item in value.items()
        }

    def scalar(self, kind: type, value: Any, key_path: str, metadata: Mapping[str, Any]) -> Any:
        if self.from_yaml:
            value = _from_yaml(kind, value)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = _as_float(value)
        if type(value) is not kind:
            raise self.fail(key_path, f"must be {TYPE_NAMES[kind]}, not {shown_value(value)}")
        if kind is str:
            self.check_length(value, key_path, metadata, "characters")
        for _, number in _numbers(value, key_path):
            message = _out_of_range(number, metadata)
            if message:
                raise self.fail(key_path, message)
        return value

    def check_length(
        self, value: Any, key_path: str, metadata: Mapping[str, Any], unit: str
    ) -> None:
        longest = metadata.get("longest")
        if longest is not None and len(value) > longest:
            raise self.fail(key_path, f"has {len(value):,} {unit}, more than {longest:,}")


def _fields(kind: type) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(kind) if field.init]


def _is_required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _from_yaml(kind: type, value: Any) -> Any:
    """Return a YAML scalar converted to `kind` if it is written as another type, else unchanged."""
    if isinstance(value, bool):
        return value
    if kind is str and isinstance(value, int | float):
        return str(value)
    if kind in (int, float) and isinstance(value, str | float):
        try:
            number = float(value)
        except ValueError:
            return value
        return int(number) if kind is int and number.is_integer() else number
    return value


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _wrong_number(kind: Any, value: Any) -> str:
    """Return an error message for a value that is not the number that a field takes, else ""."""
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if value is None and type(None) in kinds:
        return ""
    wanted = next((one for one in kinds if one in (int, float)), None)
    if wanted is None:
        return ""
    base = numbers.Integral if wanted is int else numbers.Real
    if type(value) is bool or not isinstance(value, base):
        return f"must be {TYPE_NAMES[wanted]}, not {shown_value(value)}"
    return ""


def _numbers(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the numbers in a value, which may be a sequence or dict of them, each with its key."""
    if isinstance(value, bool):
        return
    if isinstance(value, numbers.Real):  # NumPy's numbers too
        yield key, value
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from _numbers(item, join_key(key, str(index)))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _numbers(item, join_key(key, str(name)))


def _out_of_range(number: Any, metadata: Mapping[str, Any]) -> str:
    """Return an error message for a number that is out of range, else an empty string."""
    if not isinstance(number, numbers.Integral) and not math.isfinite(number):
        return f"must be a finite number, not {number}"
    limits = [name for name in _LIMITS if name in metadata]
    if all(_LIMITS[name][0](number, metadata[name]) for name in limits):
        return ""
    bounds = " and ".join(f"{_LIMITS[name][1]} {metadata[name]}" for name in limits)
    return f"must be {bounds}, not {shown_value(number)}"


def _hint(word: object, known: Mapping[str, object]) -> str:
    """Return the end of the message "unknown key": the most similar known key, or all keys."""
    import difflib

    near = difflib.get_close_matches(str(word), known, 1, 0.4)
    return f": did you mean '{near[0]}'?" if near else f"; known keys: {', '.join(known)}"
