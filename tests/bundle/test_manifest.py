"""The manifest is typed: every wrong key or value is one BundleError that names file and key."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from showtell.bundle import FORMAT_VERSION, MANIFEST, VOCABULARY, Manifest, load_bundle, sha256
from showtell.bundle.manifest import FORMAT_MINOR
from showtell.errors import BundleError
from support.dummy_bundles import write_dummy_bundle

GOOD: dict[str, Any] = {
    "name": "birds",
    "encoder": {"network": "mobilenetv2_100", "grid": [7, 7], "channels": 1280},
    "decoder": {"kind": "attention", "memory": ["keys"], "state": ["h"], "attention": True},
    "preprocessing": {
        "height": 224,
        "width": 224,
        "resize": "squash",
        "crop_fraction": 1.0,
        "interpolation": "bilinear",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    },
    "decoding": {"beam": 3, "length_penalty": 1.0, "max_length": 24, "no_repeat_ngram": 0},
    "training": {"dataset": "Flickr8k", "photos": {"train": {"count": 6, "captions": 30}}},
    "scores": [{"split": "dev", "beam": 3, "scorer": "coco", "cider": 52.0}],
    "confidence": {
        "measure": "CIDEr of at least 40",
        "features": ["margin"],
        "mean": [0.0],
        "scale": [1.0],
        "weights": [1.0],
        "intercept": 0.5,
    },
    "precision": {"encoder": "float16", "decoder": "int8"},
    "files": {"encoder.onnx": "0" * 64},
    "format_version": 1,
}

NOTHING = object()  # in place of a value: the key is removed
SQUASH = "must be one of squash, crop, pad, not"
KEYWORDS = {
    "measure": "for tests",
    "features": ["said"],
    "weights": [1.0],
    "words": {"dog": "dog dogs"},
    "biases": {"dog": 0.5},
}
WRONG: list[tuple[str, object, str]] = [
    ("name", NOTHING, "name: missing"),
    ("name", 3, "name: must be text, not 3"),
    ("nmae", "x", "nmae: unknown key: did you mean 'name'?"),
    ("encoder", NOTHING, "encoder: missing"),
    ("encoder", 3, "encoder: must be a mapping, not 3"),
    ("encoder.shared_with", "../dogs", "encoder.shared_with: '../dogs' is not a model's name"),
    ("encoder.shared_with", 3, "encoder.shared_with: must be text, not 3"),
    ("encoder.grid", NOTHING, "encoder.grid: missing"),
    ("encoder.grid", [7], "encoder.grid: must have 2 values, not 1"),
    ("encoder.grid", [7, "7"], "encoder.grid.1: must be an integer, not '7'"),
    ("encoder.grid", [0, 7], "encoder.grid.0: must be at least 1 and at most 4096, not 0"),
    ("encoder.channels", True, "encoder.channels: must be an integer, not True"),
    ("encoder.channels", -1, "encoder.channels: must be at least 1 and at most 1000000"),
    ("encoder.netwrok", "x", "encoder.netwrok: unknown key: did you mean 'network'?"),
    ("encoder.options", {"pad_type": 1}, "encoder.options.pad_type: must be text, not 1"),
    ("encoder.batch_norm_epsilon", 0, "encoder.batch_norm_epsilon: must be above 0 and at most"),
    ("decoder.attention", "yes", "decoder.attention: must be true or false, not 'yes'"),
    ("decoder.memory", "keys", "decoder.memory: must be a list, not 'keys'"),
    ("decoder.state", [None], "decoder.state.0: must be text, not null"),
    ("decoder.kind", NOTHING, "decoder.kind: missing"),
    ("preprocessing", {"hieght": 9}, "preprocessing.hieght: unknown key: did you mean 'height'?"),
    ("preprocessing", {}, "preprocessing.height: missing"),
    ("preprocessing.resize", NOTHING, "preprocessing.resize: missing"),
    ("preprocessing.height", 0, "preprocessing.height: must be at least 1"),
    ("preprocessing.width", 1e6, "preprocessing.width: must be an integer, not 1000000.0"),
    ("preprocessing.width", 100_000, "preprocessing.width: must be at least 1 and at most 4096"),
    ("preprocessing.resize", "letterbox", f"preprocessing.resize: {SQUASH} 'letterbox'"),
    ("preprocessing.resize", ["squash"], f"preprocessing.resize: {SQUASH} a list"),
    ("preprocessing.interpolation", "cubic", "preprocessing.interpolation: must be one of"),
    ("preprocessing.crop_fraction", 0, "preprocessing.crop_fraction: must be at least 0.1"),
    ("preprocessing.std", [0.5, 0.0, 0.5], "preprocessing.std.1: must be at least 1e-06"),
    ("preprocessing.mean", [0.5, 0.5], "preprocessing.mean: must have 3 values, not 2"),
    ("preprocessing.mean", 0.5, "preprocessing.mean: must be a list, not 0.5"),
    ("decoding.beam", "3", "decoding.beam: must be an integer, not '3'"),
    ("decoding.beam", 3.5, "decoding.beam: must be an integer, not 3.5"),
    ("decoding.beam", 100_000, "decoding.beam: must be at least 1 and at most 1000, not 100000"),
    ("decoding.length_penalty", 1e9, "decoding.length_penalty: must be at least 0 and at most 100"),
    ("decoding.length_penalty", 1e400, "decoding.length_penalty: must be a finite number, not inf"),
    ("decoding.max_length", 0, "decoding.max_length: must be at least 1"),
    ("decoding.no_repeat_ngram", -1, "decoding.no_repeat_ngram: must be at least 0"),
    ("decoding.beams", 3, "decoding.beams: unknown key: did you mean 'beam'?"),
    ("decoding", [], "decoding: must be a mapping, not a list"),
    ("training.photos", {"train": 3}, "training.photos.train: must be a mapping, not 3"),
    ("training.photos.train.count", "6", "training.photos.train.count: must be an integer"),
    ("training.name_hashes", 5, "training.name_hashes: must be text, not 5"),
    ("training.recipe", "flickr8k", "training.recipe: must be a mapping, not 'flickr8k'"),
    ("scores", {"cider": 1}, "scores: must be a list, not a mapping"),
    ("scores.0.cider", "52", "scores.0.cider: must be a number, not '52'"),
    ("scores.0.split", NOTHING, "scores.0.split: missing"),
    ("confidence", [], "confidence: must be a mapping, not a list"),
    ("confidence.scale", [0], "confidence.scale.0: must be at least 1e-09"),
    ("confidence.weights", [1, 2], "confidence.weights: must hold one number for each of the"),
    ("confidence.intercept", None, "confidence.intercept: must be a number, not null"),
    ("keywords", KEYWORDS, "keywords: need an encoder with a detector"),
    ("keywords", KEYWORDS | {"weights": []}, "keywords.weights: must hold one number for each of"),
    ("precision.encoder", "float8", "precision.encoder: must be one of float32, float16, int8"),
    ("precision", "int8", "precision: must be a mapping, not 'int8'"),
    ("terms", None, "terms: must be text, not null"),
    ("files", ["encoder.onnx"], "files: must be a mapping, not a list"),
    ("files", {"../x": "0" * 64}, "files: '../x' is not a plain file name"),
    ("files", {"x": "abc"}, "files.x: must be a sha256 of 64 hexadecimal digits"),
    ("format_minor", "1", "format_minor: must be an integer, not '1'"),
]


def changed(key: str, value: object) -> dict[str, Any]:
    data = deepcopy(GOOD)
    *parents, last = key.split(".")
    parent: Any = data
    for name in parents:
        parent = parent[int(name) if isinstance(parent, list) else name]
    if value is NOTHING:
        del parent[last]
    else:
        parent[last] = value
    return data


def test_good_manifest_survives_a_round_trip() -> None:
    manifest = Manifest.from_json(json.dumps(GOOD), "manifest.json")
    assert manifest.encoder.grid == (7, 7)
    assert manifest.training.photos["train"].captions == 30
    assert manifest.scores[0].cider == 52
    assert Manifest.from_json(manifest.to_json(), "manifest.json") == manifest


@pytest.mark.parametrize(("key", "value", "message"), WRONG)
def test_wrong_manifest_is_one_line_that_names_file_and_key(
    key: str, value: object, message: str
) -> None:
    text = json.dumps(changed(key, value)).replace("Infinity", "1e400")
    with pytest.raises(BundleError) as caught:
        Manifest.from_json(text, "birds/manifest.json")
    assert str(caught.value).startswith(f"birds/manifest.json: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps(GOOD).replace('"beam": 3', '"beam": NaN', 1), "NaN is not a JSON number"),
        (json.dumps(GOOD)[:-1], "not valid JSON"),
        (json.dumps(GOOD).replace('"name"', '"terms": "", "terms"'), "occurs twice"),
        ('{"a":' * 100_000, "nested too deeply"),
        (b'{"name": "\xff"}', "not UTF-8 text"),
        ("<html>", "not valid JSON"),
        ("[]", "not a showtell manifest"),
        ('{"name": "birds"}', "not a showtell manifest"),
        ('{"format_version": true}', "not a showtell manifest"),
        ('{"format_version": "1"}', "format_version must be a positive integer, not '1'"),
        ('{"format_version": 0}', "format_version must be a positive integer, not 0"),
        (f'{{"format_version": {FORMAT_VERSION + 1}}}', "is newer than this showtell reads"),
    ],
)
def test_text_that_is_no_manifest_names_the_file(text: str | bytes, message: str) -> None:
    with pytest.raises(BundleError, match=rf"^a/manifest\.json: .*{message}"):
        Manifest.from_json(text, "a/manifest.json")


def test_keys_of_a_newer_minor_version_are_ignored() -> None:
    newer = changed("encoder.colour", "blue") | {"format_minor": FORMAT_MINOR + 1, "colour": "blue"}
    assert Manifest.from_json(json.dumps(newer), "manifest.json").name == "birds"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"words": ["<pad>\xff"]}', "not UTF-8 text"),
        (b"[]", "must be a mapping"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"rule": 1, "min_count": 1}', "words: missing"),
        (b'{"rule": 1, "min_count": 1, "words": [1]}', "words.0: must be text"),
        (b'{"rule": 1, "min_count": 1, "words": ["dog"]}', "words: the first must be"),
        (b'{"rule": 1, "min_count": "5", "words": []}', "min_count: must be an integer"),
        (b'{"rule": 99, "min_count": 1, "words": []}', "rule 99 is newer"),
    ],
)
def test_damaged_vocabulary_is_one_line_that_names_the_file(
    tmp_path: Path, content: bytes, message: str
) -> None:
    bundle = write_dummy_bundle(tmp_path / "bundle")
    (bundle / VOCABULARY).write_bytes(content)
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"][VOCABULARY] = sha256(bundle / VOCABULARY)
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=rf"vocabulary\.json: .*{message}"):
        load_bundle(bundle)
