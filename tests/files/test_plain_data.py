"""Parsing JSON and YAML: text that is not valid is one error that names the source."""

from __future__ import annotations

import pytest

from showtell.errors import BundleError, RecipeError
from showtell.files.plain_data import parse_json, parse_yaml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' occurs twice"),
        ("[" * 100_000, "nested too deeply"),
        (b"\xff\xfe", "not UTF-8 text"),
        ("1" * 10_000, "not valid JSON"),
    ],
)
def test_text_that_is_not_json_is_one_error(text: str | bytes, message: str) -> None:
    with pytest.raises(BundleError, match=rf"^a\.json: .*{message}"):
        parse_json(text, error=BundleError, source="a.json")


def test_text_that_is_not_yaml_is_one_error() -> None:
    pytest.importorskip("yaml")
    assert parse_yaml("a: 1", error=RecipeError, source="a.yaml") == {"a": 1}
    for text in ("a: [", "a: b: c", "[" * 10_000, "a: 2020-99-99"):
        with pytest.raises(RecipeError, match=r"^a\.yaml: "):
            parse_yaml(text, error=RecipeError, source="a.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 150 + "]" * 150, "nested too deeply"),
        ('{"a": ' * 150 + "1" + "}" * 150, "nested too deeply"),
        (r'{"a": "\ud800"}', "half a surrogate pair"),
        (r'{"\uDC00": 1}', "half a surrogate pair"),
        ('{"\u202e": 1, "\u202e": 2}', r"the key '\\u202e' occurs twice"),
    ],
)
def test_json_that_breaks_others_is_refused(text: str, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        parse_json(text, error=BundleError, source="a.json")
    assert parse_json(r'["\ud83d\ude00"]', error=BundleError, source="a.json") == ["\U0001f600"]


@pytest.mark.parametrize("text", ["[" + "[]," * 100_000 + "0]", "[" + "0," * 1_000_001 + "0]"])
def test_json_with_too_many_values_is_refused_before_it_is_parsed(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("json.loads", None)
    with pytest.raises(BundleError, match=r"^m: too many values to be read$"):
        parse_json(text, error=BundleError, source="m")
