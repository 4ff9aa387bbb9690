"""`--language` chooses the shipped model that writes it, in every command that captions."""

from __future__ import annotations

from pathlib import Path

import pytest

from showtell import Captioner
from showtell.bundle import load_bundle
from showtell.bundle.registry import LANGUAGE_MODELS, find_bundle
from showtell.cli import main
from showtell.errors import BundleError
from showtell.files.folders import shipped_models_dir

PHOTO = Path(__file__).parents[2] / "examples" / "bicycle-trick.jpg"
COMMANDS = {
    "caption": ["caption", str(PHOTO)],
    "explain": ["explain", str(PHOTO), "--output", "picture.png"],
    "serve": ["serve"],
    "photos scan": ["photos", "scan", "."],
    "cluster caption": ["cluster", "caption", ".", "captions"],
    "alt suggest": ["alt", "suggest", "."],
    "alt write": ["alt", "write", "."],
}


@pytest.fixture(params=COMMANDS)
def command(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return COMMANDS[request.param]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    output = capsys.readouterr()
    return caught.value.code, output.out, output.err


def test_language_without_a_shipped_model_lists_those_with_one(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *command, "--language", "fr")
    assert (code, out) == (1, "")
    assert err == (
        "showtell: language fr: no shipped model writes it, only en, de:"
        " train one and name it as the model\n"
    )


def test_language_and_model_that_disagree_are_both_named(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *command, "--language", "de", "--model", "flickr8k")
    assert (code, out) == (1, "")
    assert err == (
        "showtell: language de: the model flickr8k writes en: leave out the model or the language\n"
    )


def test_german_captions_are_those_of_the_german_model(capsys: pytest.CaptureFixture[str]) -> None:
    by_language = run(capsys, "caption", str(PHOTO), "--language", "de")
    assert by_language == run(capsys, "caption", str(PHOTO), "--model", "flickr8k-de")
    assert by_language[1].startswith(f"{PHOTO}: Ein Mann ")


def test_language_that_the_model_writes_changes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    both = run(capsys, "caption", str(PHOTO), "--language", "en", "--model", "flickr8k")
    assert both == run(capsys, "caption", str(PHOTO), "--model", "flickr8k")


def test_captioner_is_loaded_by_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOWTELL_MODEL", "flickr8k")
    assert Captioner.load(language="de").bundle.manifest.name == "flickr8k-de"
    with pytest.raises(BundleError, match="language de: the model flickr8k writes en"):
        Captioner.load("flickr8k", language="de")
    with pytest.raises(ValueError, match="not a BCP 47 language tag"):
        Captioner.load(language="German!")


def test_each_shipped_language_has_a_model_that_writes_it() -> None:
    shipped = {load_bundle(path).manifest.language for path in shipped_models_dir().iterdir()}
    assert set(LANGUAGE_MODELS) == shipped
    for language, model in LANGUAGE_MODELS.items():
        assert load_bundle(find_bundle(model)).manifest.language == language
