"""The loader of settings: every wrong key or value is one error that names file and key."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from showtell.errors import BundleError, RecipeError
from showtell.files.typed_settings import check_limits, load_settings


@dataclass(frozen=True)
class Part:
    size: int = field(metadata={"ge": 1, "lt": 10})
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.names) > self.size:
            raise ValueError("names: more than size")


@dataclass(frozen=True)
class Whole:
    title: str
    part: Part
    parts: tuple[Part, ...] = ()
    pair: tuple[int, int] = (1, 2)
    rate: float = field(default=1.0, metadata={"gt": 0})
    scale: tuple[float, ...] = field(default=(), metadata={"gt": 0})
    maybe: float | None = None
    on: bool = False
    kind: Literal["big", "small"] = field(default="big", metadata={"old_values": {"huge": "big"}})
    table: dict[str, int] = field(default_factory=dict, metadata={"ge": 0})
    free: dict[str, Any] = field(default_factory=dict, metadata={"longest": 30})
    beta: float = field(default=0.9, metadata={"old_names": ("moment",)})
    hidden: int = field(default=0, init=False)


GOOD: dict[str, Any] = {"title": "x", "part": {"size": 3, "names": ["a"]}}


def load(data: object, **options: Any) -> Whole:
    return load_settings(Whole, data, error=BundleError, source="file.json", **options)


def test_nested_data_becomes_nested_dataclasses() -> None:
    data = GOOD | {"parts": [{"size": 1}], "pair": [3, 4], "rate": 2, "table": {"a": 0}, "on": True}
    loaded = load(data | {"free": {"any": [None, {}]}, "maybe": 1, "kind": "small"})
    assert loaded.part == Part(3, ("a",))
    assert loaded.parts == (Part(1),)
    assert (loaded.pair, loaded.table, loaded.on, loaded.kind) == ((3, 4), {"a": 0}, True, "small")
    assert (loaded.rate, type(loaded.rate), loaded.maybe) == (2.0, float, 1.0)
    assert loaded.free == {"any": [None, {}]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"titel": "x"}, "titel: unknown key: did you mean 'title'?"),
        ({"qqqqq": "x"}, "qqqqq: unknown key; known keys: title, part, parts"),
        ({"hidden": 1}, "hidden: unknown key"),
        ({"part": {}}, "part.size: missing"),
        ({"part": {"size": 3, "nams": []}}, "part.nams: unknown key: did you mean 'names'?"),
        ({"part": 3}, "part: must be a mapping, not 3"),
        ({"part": [1]}, "part: must be a mapping, not a list"),
        ({"part": {"size": 0}}, "part.size: must be at least 1 and below 10, not 0"),
        ({"part": {"size": 10}}, "part.size: must be at least 1 and below 10, not 10"),
        ({"part": {"size": True}}, "part.size: must be an integer, not True"),
        ({"part": {"size": 3.0}}, "part.size: must be an integer, not 3.0"),
        ({"part": {"size": "3"}}, "part.size: must be an integer, not '3'"),
        ({"part": {"size": None}}, "part.size: must be an integer, not null"),
        ({"part": {"size": 1, "names": ["a", "b"]}}, "part.names: more than size"),
        ({"part": {"size": 1, "names": [2]}}, "part.names.0: must be text, not 2"),
        ({"part": {"size": 1, "names": "ab"}}, "part.names: must be a list, not 'ab'"),
        ({"parts": [{"size": 1}, {"size": -1}]}, "parts.1.size: must be at least 1"),
        ({"pair": [1]}, "pair: must have 2 values, not 1"),
        ({"pair": [1, "2"]}, "pair.1: must be an integer, not '2'"),
        ({"rate": 0}, "rate: must be above 0, not 0.0"),
        ({"rate": float("nan")}, "rate: must be a finite number, not nan"),
        ({"rate": 10**400}, "rate: must be a finite number, not inf"),
        ({"rate": False}, "rate: must be a number, not False"),
        ({"scale": [1, 0.0]}, "scale.1: must be above 0, not 0.0"),
        ({"maybe": "x"}, "maybe: must be a number, not 'x'"),
        ({"on": 1}, "on: must be true or false, not 1"),
        ({"kind": "medium"}, "kind: must be one of big, small, not 'medium'"),
        ({"kind": ["big"]}, "kind: must be one of big, small, not a list"),
        ({"table": {"a": -1}}, "table.a: must be at least 0, not -1"),
        ({"table": {1: 1}}, "table: the key 1 must be text"),
        ({"title": "x" * 30, "pair": "y" * 500}, "pair: must be a list, not 'yyyyy"),
        ({"beta": 0.5, "moment": 0.5}, "moment: the old name of 'beta': remove one"),
    ],
)
def test_wrong_value_is_one_line_that_names_file_and_key(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BundleError) as caught:
        load(GOOD | changes)
    text = str(caught.value)
    assert text.startswith(f"file.json: {message}")
    assert len(text) < 200
    assert "\n" not in text


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_data_that_is_no_mapping_names_the_file(data: object) -> None:
    with pytest.raises(BundleError, match=r"^file\.json: must be a mapping, not "):
        load(data)


def test_missing_key_is_named() -> None:
    with pytest.raises(BundleError, match=r"^file\.json: title: missing$"):
        load({"part": {"size": 1}})


def test_old_names_and_values_are_read_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        loaded = load(GOOD | {"moment": 0.5, "kind": "huge"})
    assert (loaded.beta, loaded.kind) == (0.5, "big")
    assert [record.getMessage() for record in caplog.records] == [
        "file.json: 'moment' is now called 'beta'",
        "file.json: kind: 'huge' is now called 'big'",
    ]


def test_unknown_keys_can_be_ignored_at_every_level() -> None:
    data = {"title": "x", "part": {"size": 3, "colour": 1}, "more": 2}
    assert load(data, ignore_unknown=True).part.size == 3


def test_yaml_scalars_are_read_as_the_type_of_the_field() -> None:
    data = {"title": 12, "part": {"size": "3"}, "rate": "8e-4", "pair": [1.0, "2"]}
    loaded = load(data, from_yaml=True)
    assert (loaded.title, loaded.part.size, loaded.rate, loaded.pair) == ("12", 3, 8e-4, (1, 2))
    for wrong in ({"rate": "fast"}, {"rate": "nan"}, {"pair": [1.5, 2]}, {"title": True}):
        with pytest.raises(BundleError):
            load(GOOD | wrong, from_yaml=True)


def test_limits_of_a_dataclass_built_in_python_are_checked() -> None:
    check_limits(Part(3), RecipeError)
    with pytest.raises(RecipeError, match=r"^size: must be at least 1 and below 10, not 99$"):
        check_limits(Part(99), RecipeError)
    with pytest.raises(RecipeError, match=r"^scale\.1: must be above 0, not 0$"):
        check_limits(Whole("x", Part(1), scale=(1, 0)), RecipeError)


KEYS = [*asdict(Whole("x", Part(1))), "size"]
TEXT = st.text("ab1", max_size=3)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
PLAIN = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(TEXT, SCALARS))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(KEYS), PLAIN, max_size=4))
def test_any_data_is_loaded_or_refused_with_the_given_error(data: dict[str, Any]) -> None:
    with contextlib.suppress(BundleError):
        assert isinstance(load(GOOD | data), Whole)


@dataclass(frozen=True)
class Short:
    text: str = field(default="", metadata={"longest": 3})
    items: tuple[int, ...] = field(default=(), metadata={"longest": 2})
    number: int = 1
    rate: float | None = None

    def __post_init__(self) -> None:
        check_limits(self)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"text": "abcd"}, "text: has 4 characters, more than 3"),
        ({"items": [1, 2, 3]}, "items: has 3 values, more than 2"),
        ({"x" * 1000: 1}, "x" * 60 + r"\.\.\.: unknown key"),
        ({"\x1b[0m": 1}, r"\\x1b\[0m: unknown key"),
    ],
)
def test_sizes_are_bounded_and_messages_are_short(data: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        load_settings(Short, data, error=BundleError)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [True, "3", 3.0, None, [3]])
def test_number_of_another_type_is_refused_in_python_too(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^number: must be an integer, not"):
        Short(number=value)
    if value is not None and type(value) is not float:
        with pytest.raises(ValueError, match=r"^rate: must be a number, not"):
            Short(rate=value)


def test_numpy_numbers_are_numbers() -> None:
    np = pytest.importorskip("numpy")
    assert Short(number=np.int64(3), rate=np.float32(1)).rate == 1
