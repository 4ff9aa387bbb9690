"""The options of decoding are defined once; every other place where they stand is held equal."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, get_args, get_type_hints

import pytest

from showtell.captioner import Captioner
from showtell.cli.caption import caption as caption_command
from showtell.decoding import options
from showtell.decoding.options import CaptionOptions, Decoding, DecodingDefaults, Strategy

FIELDS = {field.name: field for field in dataclasses.fields(Decoding)}
TYPES = get_type_hints(Decoding)
OF_THE_MODEL = {field.name for field in dataclasses.fields(DecodingDefaults)}


def default_of(name: str) -> Any:
    """Return the default of an option in a call, where None stands for the model's own."""
    return None if name in OF_THE_MODEL else FIELDS[name].default


def without_none(kind: Any) -> Any:
    """Return T for `T | None`."""
    kinds = [item for item in get_args(kind) if item is not type(None)]
    return kinds[0] if type(None) in get_args(kind) else kind


def test_typed_dict_has_the_options() -> None:
    hints = get_type_hints(CaptionOptions)
    assert hints.keys() == FIELDS.keys()
    for name, kind in hints.items():
        assert without_none(kind) == without_none(TYPES[name]), name
        assert (kind == without_none(kind)) == (default_of(name) is not None), name


def test_captioner_has_the_options() -> None:
    parameters = inspect.signature(Captioner.caption).parameters
    assert set(parameters) == {"self", "photos", "batch_size", *FIELDS}
    for name in FIELDS:
        assert parameters[name].default == default_of(name), name
        kind = eval(parameters[name].annotation, vars(options))
        assert kind == get_type_hints(CaptionOptions)[name], name


def test_command_line_has_the_options() -> None:
    flags = {option.name: option for option in caption_command.params}
    assert set(FIELDS) <= set(flags)
    for name, field in FIELDS.items():
        assert flags[name].opts == ["--" + name.replace("_", "-")]
        assert flags[name].to_info_dict()["default"] == default_of(name), name
        assert field.metadata["help"] in flags[name].help  # type: ignore[attr-defined]
        limits = {key: value for key, value in field.metadata.items() if key in ("ge", "gt", "le")}
        kind = flags[name].type
        shown = {
            "gt" if getattr(kind, "min_open", False) else "ge": getattr(kind, "min", None),
            "le": getattr(kind, "max", None),
        }
        assert {key: value for key, value in shown.items() if value is not None} == limits, name


def test_rest_api_has_the_options_within_their_bounds() -> None:
    schemas = pytest.importorskip("showtell.server.schemas")
    served = schemas.CaptionQuery.model_fields
    assert set(served) == {*FIELDS, "words"}
    for name, field in FIELDS.items():
        assert served[name].default == default_of(name), name
        limits = {
            key: getattr(limit, key)
            for limit in served[name].metadata
            for key in ("ge", "gt", "le", "lt")
            if getattr(limit, key, None) is not None
        }
        least = field.metadata.get("ge", field.metadata.get("gt"))
        most = field.metadata.get("le")
        if least is not None:
            assert limits.get("ge", limits.get("gt")) >= least, name
        if most is not None:
            assert limits.get("le", limits.get("lt")) <= most, name


@pytest.mark.extras
def test_client_has_the_options() -> None:
    client = pytest.importorskip("showtell.client.client")
    hints = get_type_hints(client.Options)
    assert hints == get_type_hints(CaptionOptions) | {"words": bool}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beam", 100_000),
        ("beam", True),
        ("beam", "3"),
        ("beam", 2.5),
        ("nbest", 100_000),
        ("groups", 10**30),
        ("length_penalty", 1e9),
        ("length_penalty", float("nan")),
        ("max_length", 10**9),
        ("no_repeat_ngram", -1),
        ("diversity", float("inf")),
        ("seed", -1),
        ("seed", 2**64),
        ("temperature", 1e-300),
        ("temperature", 0),
        ("top_k", 10**12),
        ("top_p", 1.5),
        ("strategy", ["beam"]),
    ],
)
def test_option_out_of_range_is_a_value_error_that_names_it(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: |^beam: "):
        Decoding.of(DecodingDefaults(), **{name: value})  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("option", "value", "strategy"),
    [
        ("temperature", 0.7, "sample"),
        ("top_k", 5, "sample"),
        ("top_p", 0.9, "sample"),
        ("groups", 3, "diverse"),
        ("diversity", 0.1, "diverse"),
    ],
)
def test_an_option_of_another_strategy_is_refused(
    option: str, value: float, strategy: Strategy
) -> None:
    assert getattr(Decoding(strategy=strategy, **{option: value}), option) == value  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"{option}: only for strategy={strategy}"):
        Decoding(**{option: value})  # type: ignore[arg-type]
