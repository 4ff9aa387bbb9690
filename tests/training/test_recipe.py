"""Shipped recipes, overrides, old keys, and one clear line for each error."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from showtell.errors import RecipeError
from showtell.training.recipe import (
    Recipe,
    Stage,
    load_recipe,
    recipe_from_dict,
    shipped_recipes,
)
from support.paths import ROOT
from support.wheel_install import build_wheel


def test_shipped_recipes_are_found_by_name() -> None:
    assert {"flickr8k", "seed"} <= set(shipped_recipes())
    flickr8k, seed = load_recipe("flickr8k"), load_recipe("seed")
    assert (flickr8k.encoder, flickr8k.decoder.kind) == ("mobilenetv2", "attention")
    assert [stage.train_encoder for stage in flickr8k.stages] == ["none", "all"]
    assert (seed.encoder, seed.decoder.kind) == ("xception", "merge")
    assert (seed.decoder.embedding, seed.decoder.hidden, seed.decoder.dropout) == (256, 256, 0.5)


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_starts_with_its_purpose(name: str) -> None:
    text = (ROOT / "src" / "showtell" / "recipes" / f"{name}.yaml").read_text()
    head = text.split("\n\n")[0]
    assert head.startswith("# ")
    assert f"showtell train {name}" in head


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_loads_the_same_by_name_and_by_path(name: str) -> None:
    path = ROOT / "src" / "showtell" / "recipes" / f"{name}.yaml"
    assert load_recipe(name) == load_recipe(path) == load_recipe(str(path))


def test_the_wheel_holds_the_recipes(tmp_path: Path) -> None:
    names = zipfile.ZipFile(build_wheel(tmp_path)).namelist()
    for recipe in shipped_recipes():
        assert f"showtell/recipes/{recipe}.yaml" in names


def test_gitignore_does_not_exclude_recipes_from_the_wheel() -> None:
    """hatchling leaves out what git ignores."""
    recipes = [f"src/showtell/recipes/{name}.yaml" for name in shipped_recipes()]
    run = subprocess.run(["git", "check-ignore", *recipes], cwd=ROOT, capture_output=True)
    if run.returncode == 128:
        pytest.skip("not a git checkout")
    assert run.stdout == b""


def test_a_recipe_survives_conversion_to_plain_data() -> None:
    for name in shipped_recipes():
        recipe = load_recipe(name)
        assert recipe_from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
        assert recipe_from_dict(yaml.safe_load(yaml.safe_dump(recipe.to_dict()))) == recipe


@settings(max_examples=60)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "batch_photos": st.integers(1, 10**6),
            "seed": st.integers(0, 2**40),
            "save_minutes": st.floats(0, 1e6, allow_nan=False),
            "precision": st.sampled_from(["auto", "float32", "bfloat16"]),
            "encoder": st.text(st.characters(codec="ascii", categories=["L"]), min_size=1),
            "views": st.sampled_from([["plain"], ["plain", "flip"], ["flip", "plain"]]),
            "stages": st.lists(
                st.fixed_dictionaries(
                    {"epochs": st.integers(0, 99)},
                    optional={
                        "learning_rate": st.floats(1e-9, 1e9),
                        "train_encoder": st.sampled_from(["none", "last", "all"]),
                        "flip": st.booleans(),
                        "average": st.floats(0, 0.999),
                        "interpolation": st.floats(0.01, 1),
                    },
                ),
                min_size=1,
                max_size=4,
            ),
        },
    )
)
def test_valid_values_survive_yaml(data: dict[str, Any]) -> None:
    recipe = recipe_from_dict(yaml.safe_load(yaml.safe_dump(data)))
    plain = recipe.to_dict()
    for key, value in data.items():
        if key != "stages":
            assert plain[key] == value
    for mine, given_ in zip(plain["stages"], data.get("stages", plain["stages"]), strict=True):
        assert mine | given_ == mine


def test_overrides_reach_nested_keys_and_lists() -> None:
    recipe = load_recipe(
        "flickr8k",
        [
            "batch_photos=16",
            "decoder.hidden=256",
            "stages.1.epochs=0",
            "decoder.kind=merge",
            "stages.0.learning_rate=8e-5",
            "views=[plain]",
            "encoder_weights=none",
            "stages.0.flip=no",
            "feature_cache=",
        ],
    )
    assert (recipe.batch_photos, recipe.decoder.hidden, recipe.stages[1].epochs) == (16, 256, 0)
    assert recipe.stages[0].learning_rate == 8e-5
    assert recipe.stages[0].average == 0.999  # what was not named stays
    assert recipe.views == ("plain",)
    assert (recipe.encoder_weights, recipe.feature_cache) == ("none", "")
    assert recipe.stages[0].flip is False


def test_a_whole_list_can_be_set_at_once() -> None:
    recipe = load_recipe("flickr8k", ["stages=[{epochs: 3, learning_rate: 1e-3}]"])
    assert recipe.stages == (Stage(epochs=3, learning_rate=1e-3),)


def test_overrides_reach_the_default_stage_of_a_recipe_without_stages(tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text("encoder: resnet18\n")
    recipe = load_recipe(tmp_path / "short.yaml", ["stages.0.epochs=2", "decoder.heads=4"])
    assert (recipe.stages[0].epochs, recipe.decoder.heads) == (2, 4)
    assert load_recipe(tmp_path / "short.yaml") == Recipe(encoder="resnet18")


@pytest.mark.parametrize("text", ["8e-4", "8E-4", "0.0008", "8.0e-4", "'8e-4'"])
def test_numbers_may_be_written_in_any_common_form(text: str) -> None:
    """YAML 1.1 reads 8e-4, without a point, as text."""
    assert (
        load_recipe("flickr8k", [f"stages.0.learning_rate={text}"]).stages[0].learning_rate == 8e-4
    )


WRONG = [
    (["batch_photo=3"], "flickr8k: batch_photo: unknown key: did you mean 'batch_photos'?"),
    (["stages.0.epoch=3"], "flickr8k: stages.0.epoch: unknown key: did you mean 'epochs'?"),
    (["decoder.hiden=3"], "flickr8k: decoder.hiden: unknown key: did you mean 'hidden'?"),
    (["batch_photos=many"], "flickr8k: batch_photos: must be an integer, not 'many'"),
    (["batch_photos=1.5"], "flickr8k: batch_photos: must be an integer, not 1.5"),
    (["batch_photos=true"], "flickr8k: batch_photos: must be an integer, not True"),
    (["batch_photos="], "flickr8k: batch_photos: must be an integer, not ''"),
    (["batch_photos=0"], "flickr8k: batch_photos: must be at least 1, not 0"),
    (
        ["stages.0.learning_rate=.nan"],
        "flickr8k: stages.0.learning_rate: must be a finite number, not nan",
    ),
    (["stages.0.learning_rate=-1"], "flickr8k: stages.0.learning_rate: must be above 0, not -1.0"),
    (["stages.0.flip=maybe"], "flickr8k: stages.0.flip: must be true or false, not 'maybe'"),
    (
        ["stages.0.train_encoder=some"],
        "flickr8k: stages.0.train_encoder: must be one of none, last, all, not 'some'",
    ),
    (["stages.2.epochs=3"], "stages.2.epochs: '2' is not an index of a list of 2"),
    (["stages.last.epochs=3"], "stages.last.epochs: 'last' is not an index of a list of 2"),
    (["stages.²=3"], "stages.²: '²' is not an index of a list of 2"),
    (["stages=[]"], "flickr8k: stages: must hold at least one stage"),
    (["stages=3"], "flickr8k: stages: must be a list, not 3"),
    (["stages=[3]"], "flickr8k: stages.0: must be a mapping, not 3"),
    (["stages=[{learning_rate: 1}]"], "flickr8k: stages.0.epochs: missing"),
    (["decoder=big"], "flickr8k: decoder: must be a mapping, not 'big'"),
    (["decoder.kind=gru"], "flickr8k: decoder.kind: must be one of attention, merge, not 'gru'"),
    (["decoder.heads=7"], "flickr8k: decoder.heads: 7 does not divide hidden (512)"),
    (["decoding.beam=0"], "flickr8k: decoding.beam: must be at least 1 and at most 1000, not 0"),
    (
        ["decoding.max_length=0"],
        "flickr8k: decoding.max_length: must be at least 1 and at most 1000, not 0",
    ),
    (
        ["decoding.length_penalty=-1"],
        "flickr8k: decoding.length_penalty: must be at least 0 and at most 100, not -1.0",
    ),
    (["views=[plain, upside]"], "flickr8k: views: each must be one of plain, flip"),
    (["views=[flip]"], "flickr8k: views: must hold plain"),
    (["views=plain"], "flickr8k: views: must be a list, not 'plain'"),
    (["seed=-1"], "flickr8k: seed: must be at least 0, not -1"),
    (["save_steps=-1"], "flickr8k: save_steps: must be at least 0, not -1"),
    (
        ["precision=float16"],
        "flickr8k: precision: must be one of auto, float32, bfloat16, not 'float16'",
    ),
    (["encoder.name.first=x"], "encoder.name.first: 'encoder.name' is a value without keys"),
    (["encoder.name=x"], "encoder.name: 'encoder' is a value without keys"),
    (["batch_photos"], "'batch_photos': write key=value, such as batch_photos=16"),
    (["=3"], "'=3': write key=value, such as batch_photos=16"),
]


@pytest.mark.parametrize(("overrides", "message"), WRONG, ids=[" ".join(o) for o, _ in WRONG])
def test_a_wrong_override_gives_one_line_that_names_recipe_and_key(
    overrides: list[str], message: str
) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe("flickr8k", overrides)
    assert str(error.value) == message


@settings(max_examples=80)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=20),
            st.builds(
                "{}={}".format,
                st.sampled_from(
                    [field.name for field in fields(Recipe)]
                    + [f"stages.0.{field.name}" for field in fields(Stage)]
                    + ["decoder.kind", "decoder.x.y", "decoding.beam", "stages.9.epochs", "a.b.c"]
                ),
                st.text(max_size=12)
                | st.sampled_from(["null", "[]", "{}", "1", "-1", ".inf", "x"]),
            ),
        ),
        max_size=3,
    )
)
def test_any_override_gives_a_recipe_or_a_recipe_error(overrides: list[str]) -> None:
    with contextlib.suppress(RecipeError):
        recipe = load_recipe("flickr8k", overrides)
        assert recipe_from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("encoder: [", "odd.yaml: not valid YAML"),
        ("just words", "a recipe must be a mapping of keys to values"),
        ("- encoder", "a recipe must be a mapping of keys to values"),
        ("3: x", "odd.yaml: 3: unknown key"),
        ("learning_rate: 1", "odd.yaml: learning_rate: unknown key"),
    ],
)
def test_a_file_that_is_not_a_recipe_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(RecipeError) as error:
        load_recipe(tmp_path / "odd.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


OLD_KEYS = """
mix: old
mix_share: 0.25
decoder: {evidence: 0.3, evidence_from: regions}
stages:
- {epochs: 1, objective: words, train_encoder: all, crop: 0.5, color: 0.1}
- {epochs: 1, restart: true, second_moment: 0.9, begin_with: last}
"""
NEW_KEYS = """
rehearsal: old
rehearsal_share: 0.25
decoder: {concept_weight: 0.3, concepts_from: regions}
stages:
- {epochs: 1, objective: concepts, train_encoder: all, min_crop_area: 0.5, color_jitter: 0.1}
- {epochs: 1, reinit_decoder: true, adam_beta2: 0.9, init_checkpoint: last}
"""


def test_old_keys_are_read_with_a_warning_that_gives_the_new_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(OLD_KEYS)
    new.write_text(NEW_KEYS)
    recipe = load_recipe(old)
    assert f"{old}: 'mix' is now called 'rehearsal'" in caplog.messages
    assert f"{old}: stages.0.objective: 'words' is now called 'concepts'" in caplog.messages
    assert len(caplog.messages) == 10
    caplog.clear()
    assert load_recipe(new) == recipe
    assert not caplog.messages


def test_an_override_with_an_old_key_replaces_the_recipe_s_new_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    old = ["mix=x", "decoder.evidence=0.1", "stages.0.crop=0.5"]
    new = ["rehearsal=x", "decoder.concept_weight=0.1", "stages.0.min_crop_area=0.5"]
    assert load_recipe("flickr8k-best", old) == load_recipe("flickr8k-best", new)
    assert caplog.messages[0] == "'mix' is now called 'rehearsal'"
    assert len(caplog.messages) == 3


def test_an_empty_recipe_is_the_default_one(tmp_path: Path) -> None:
    (tmp_path / "empty.yml").write_text("# nothing yet\n")
    assert load_recipe(tmp_path / "empty.yml") == Recipe()


def test_unknown_recipes_and_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"recipe 'flickr': neither .* did you mean 'flickr8k'"):
        load_recipe("flickr")
    with pytest.raises(RecipeError, match=r"gone\.yaml: cannot be read"):
        load_recipe(tmp_path / "gone.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"encoder: caf\xe9")
    with pytest.raises(RecipeError, match=r"latin\.yaml: cannot be read"):
        load_recipe(tmp_path / "latin.yaml")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no devices")  # noqa: PTH110
def test_a_recipe_is_read_from_a_file_of_bounded_size_only(tmp_path: Path) -> None:
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")
    with pytest.raises(RecipeError, match=r"endless\.yaml: cannot be read \(a device"):
        load_recipe(tmp_path / "endless.yaml")
    with (tmp_path / "huge.yaml").open("wb") as file:
        file.truncate(2 << 20)
    with pytest.raises(RecipeError, match=r"huge\.yaml: cannot be read \(larger than 1 MB"):
        load_recipe(tmp_path / "huge.yaml")


def test_a_wrong_key_on_the_command_line_is_one_line_and_exit_code_one(tmp_path: Path) -> None:
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "showtell",
            "train",
            "flickr8k",
            "batch_foto=3",
            "--data",
            tmp_path,
            "--output",
            tmp_path / "run",
        ],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert (
        run.stderr == "showtell: flickr8k: batch_foto: unknown key: did you mean 'batch_photos'?\n"
    )


def test_only_the_recipe_of_the_shipped_model_says_that_it_ships() -> None:
    for name in shipped_recipes():
        text = (ROOT / "src" / "showtell" / "recipes" / f"{name}.yaml").read_text()
        claims_to_ship = text.startswith("# The shipped model flickr8k:")
        assert claims_to_ship == (name == "flickr8k-best"), name
    manifest = json.loads((ROOT / "src/showtell/bundles/flickr8k/manifest.json").read_text())
    shipped = recipe_from_dict(manifest["training"]["recipe"])
    assert shipped.decoder == load_recipe("flickr8k-best").decoder
    assert shipped.decoder != load_recipe("flickr8k").decoder
