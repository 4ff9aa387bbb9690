"""A bundle is checked file by file, and written whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from showtell.bundle import (
    CARD,
    DECODER_STEP,
    ENCODER,
    FORMAT_VERSION,
    MANIFEST,
    REQUIRED,
    VOCABULARY,
    load_bundle,
    save_bundle,
)
from showtell.bundle.bundle import read_card
from showtell.bundle.manifest import FORMAT_MINOR
from showtell.bundle.onnx_runtime import OnnxModel
from showtell.errors import BundleError
from showtell.files.folders import shipped_models_dir
from showtell.image import Preprocessing
from support.dummy_bundles import write_dummy_bundle
from support.tiny_bundles import SIZE


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_dummy_bundle(tmp_path / "bundle")


def rewrite(bundle: Path, **changes: object) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(json.dumps(manifest | changes))


def test_what_was_saved_is_loaded(bundle):
    loaded = load_bundle(bundle)
    assert loaded.manifest.name == "dummy"
    assert loaded.manifest.preprocessing == Preprocessing(height=SIZE, width=SIZE)
    assert set(loaded.manifest.files) == set(REQUIRED)
    assert "dog" in loaded.vocabulary


@pytest.mark.parametrize("name", REQUIRED)
def test_a_changed_byte_is_refused_by_name(bundle, name):
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name}: changed"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_file_is_refused_by_name(bundle, name):
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=rf"{name}: missing"):
        load_bundle(bundle)


def test_a_newer_format_says_to_upgrade(bundle):
    rewrite(bundle, format_version=FORMAT_VERSION + 1)
    with pytest.raises(BundleError, match=rf"format {FORMAT_VERSION + 1} is newer.*upgrade"):
        load_bundle(bundle)


def test_keys_of_a_later_minor_version_are_ignored(bundle):
    rewrite(bundle, format_minor=FORMAT_MINOR + 1, colour="blue")
    assert load_bundle(bundle).manifest.name == "dummy"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": 1}', "\x00", '{"name": 3}'])
def test_a_damaged_manifest_is_one_clear_error(bundle, text):
    (bundle / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=MANIFEST):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("key", "value"),
    [("files", ["a"]), ("encoder", 3), ("decoding", {"beams": 3}), ("preprocessing", {})],
)
def test_a_manifest_of_another_shape_is_one_clear_error(bundle, key, value):
    rewrite(bundle, **{key: value})
    with pytest.raises(BundleError, match=rf"manifest\.json: {key}"):
        load_bundle(bundle)


def test_a_file_name_that_leaves_the_folder_is_refused(bundle, tmp_path):
    (tmp_path / "secret").write_text("x")
    files = json.loads((bundle / MANIFEST).read_text())["files"]
    rewrite(bundle, files=files | {"../secret": "0" * 64})
    with pytest.raises(BundleError, match="not a plain file name"):
        load_bundle(bundle)


def test_a_folder_that_is_no_bundle_says_so(tmp_path):
    with pytest.raises(BundleError, match=r"not a model bundle"):
        load_bundle(tmp_path)


def test_saving_over_a_bundle_replaces_it_and_leaves_nothing_else(bundle):
    before = (bundle / ENCODER).read_bytes()
    write_dummy_bundle(bundle, name="second")
    assert load_bundle(bundle).manifest.name == "second"
    assert (bundle / ENCODER).read_bytes() != before
    assert list(bundle.parent.iterdir()) == [bundle]


def test_a_folder_of_other_things_is_never_overwritten(bundle, tmp_path):
    other = tmp_path / "photos"
    other.mkdir()
    (other / "dog.jpg").write_bytes(b"x")
    with pytest.raises(BundleError, match="is not a bundle"):
        write_dummy_bundle(other)
    assert [file.name for file in other.iterdir()] == ["dog.jpg"]


def test_a_write_that_fails_leaves_the_bundle_before_it(bundle, tmp_path):
    loaded = load_bundle(bundle)
    files: dict[str, bytes | Path] = {name: bundle / name for name in REQUIRED}
    files[CARD] = tmp_path / "not-there"
    with pytest.raises(FileNotFoundError):
        save_bundle(bundle, loaded.manifest, files)
    assert load_bundle(bundle).manifest.name == "dummy"
    assert list(tmp_path.iterdir()) == [bundle]


def test_a_bundle_without_a_needed_file_is_not_written(bundle, tmp_path):
    loaded = load_bundle(bundle)
    with pytest.raises(BundleError, match=VOCABULARY):
        save_bundle(tmp_path / "new", loaded.manifest, {ENCODER: b"x"})
    assert not (tmp_path / "new").exists()


def test_a_manifest_of_another_language_than_the_vocabulary_is_refused(bundle):
    rewrite(bundle, language="de")
    with pytest.raises(BundleError, match=r"language: de, but vocabulary.json has words of en"):
        load_bundle(bundle)


@pytest.fixture
def sharing(bundle: Path) -> Path:
    """A bundle beside `bundle`, without the encoder, which is that of `bundle`."""
    sharing = Path(shutil.copytree(bundle, bundle.with_name("sharing")))
    (sharing / ENCODER).unlink()
    encoder = json.loads((bundle / MANIFEST).read_text())["encoder"]
    rewrite(sharing, encoder=encoder | {"shared_with": bundle.name})
    return sharing


def test_shared_encoder_is_that_of_the_bundle_beside_it(
    bundle: Path, sharing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_bundle(sharing).file(ENCODER) == bundle / ENCODER
    assert load_bundle(sharing).file(VOCABULARY) == sharing / VOCABULARY
    monkeypatch.chdir(sharing)
    assert load_bundle(Path()).file(ENCODER) == bundle / ENCODER


def test_bundle_with_the_shared_encoder_inside_needs_no_other(bundle: Path, sharing: Path) -> None:
    shutil.move(bundle / ENCODER, sharing / ENCODER)
    assert load_bundle(sharing).file(ENCODER) == sharing / ENCODER


def test_shared_encoder_that_is_nowhere_names_the_other_model(bundle: Path, sharing: Path) -> None:
    (bundle / ENCODER).unlink()
    message = rf"sharing: its {ENCODER} is that of the model bundle, .* put bundle beside it, or"
    with pytest.raises(BundleError, match=message):
        load_bundle(sharing)


def test_shared_encoder_with_another_hash_is_refused(bundle: Path, sharing: Path) -> None:
    shutil.copyfile(bundle / DECODER_STEP, bundle / ENCODER)
    message = rf"bundle/{ENCODER}: not the file that the bundle .*sharing shares with bundle"
    with pytest.raises(BundleError, match=message):
        load_bundle(sharing)
    unchecked = load_bundle(sharing, networks=False)
    with pytest.raises(BundleError, match="shares with bundle"):
        OnnxModel(unchecked)


def test_german_model_ships_with_the_encoder_of_flickr8k() -> None:
    german = load_bundle(shipped_models_dir() / "flickr8k-de")
    assert german.manifest.language == "de"
    assert german.file(ENCODER) == shipped_models_dir() / "flickr8k" / ENCODER
    assert "Multi30K" in german.manifest.terms
    assert "non-commercial research" in german.manifest.terms
    assert german.manifest.terms in read_card(german.path)
