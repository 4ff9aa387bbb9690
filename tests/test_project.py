"""The README's commands, its length and links, the credits of the photos, the terms."""

from __future__ import annotations

import email
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from showtell import Captioner
from showtell.decoding.confidence import CONFIDENCE_LEVELS, GUESS_BELOW
from showtell.image import open_photo
from support.paths import EXAMPLES, ROOT, SAMPLE_PHOTOS
from support.wheel_install import build_wheel

PHOTOS = sorted(EXAMPLES.glob("*.jpg"))
SURE_FROM = CONFIDENCE_LEVELS[0].minimum
DESCRIPTIONS = {  # true of the photo (the bear walks); processors differ in details
    "bicycle-trick.jpg": r"man is performing a (bike|bicycle) trick",
    "dog-on-sand.jpg": r"brown dog with a blue collar is laying (in|on) the sand",
    "heron.jpg": r"bird (flies|is flying) through the air",
    "mountain-top.jpg": r"man (stands|is standing) on (top of )?a mountain",
    "palace.jpg": r"group of people are standing in front of a building",
    "polar-bear.jpg": r"white bear is (standing|walking) (in|through) the snow",
    "railing-at-sunset.jpg": r"man (stands|is standing) on a railing at sunset",
    "rock-above-a-valley.jpg": r"man (stands|is standing) on a mountain overlooking",
}


@pytest.mark.parametrize(
    ("number", "command"),
    [
        (
            1,
            "python3 -m venv .venv && .venv/bin/pip install ."
            " && .venv/bin/showtell caption examples/",
        ),
        (2, '.venv/bin/pip install -e ".[all,dev]" && .venv/bin/pytest -n 2'),
    ],
)
def test_readme_prints_the_two_commands_that_ci_runs(number: int, command: str) -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    extract = re.search(r"^readme_command\(\) \{.*?^\}", script, re.DOTALL | re.MULTILINE)
    assert extract is not None
    result = subprocess.run(
        ["bash", "-c", f"{extract[0]}\nreadme_command {number}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == command


def test_readme_is_short_and_its_links_work() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) < 60
    links = re.findall(r"(?<!!)\[[^]]+\]\((?!http)([^)#]+)", text)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.extras
def test_the_wheel_has_absolute_links_and_the_terms_of_code_and_model(tmp_path: Path) -> None:
    with zipfile.ZipFile(build_wheel(tmp_path)) as wheel:
        names = wheel.namelist()
        [path] = [name for name in names if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(wheel.read(path))
    assert metadata["License-Expression"] == "Apache-2.0 AND LicenseRef-Flickr8k"
    assert any(name.endswith("/licenses/LICENSES/LicenseRef-Flickr8k.txt") for name in names)
    assert {url.split(",")[0] for url in metadata.get_all("Project-URL", [])} >= {
        "Repository",
        "Documentation",
        "Issues",
    }
    description = str(metadata.get_payload())
    links = re.findall(r"\]\(([^)]+)\)", description)
    assert len(links) == len(re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text("utf-8")))
    assert [link for link in links if not link.startswith("https://")] == []
    assert "](https://raw.githubusercontent.com/showtell/showtell/main/docs/images/page.png)" in (
        description
    )


@pytest.mark.parametrize("folder", [EXAMPLES, SAMPLE_PHOTOS])
def test_every_photo_is_credited_with_licence_and_source(folder: Path) -> None:
    text = (folder / "README.md").read_text("utf-8")
    rows = {row[1]: row[0] for row in re.finditer(r"^\| `(\S+\.jpg)` \|.*$", text, re.MULTILINE)}
    assert set(rows) == {photo.name for photo in folder.glob("*.jpg")}
    for row in rows.values():
        assert re.search(r"CC0|CC BY|MIT|public domain", row), row
        assert len([cell for cell in row.split("|") if cell.strip()]) == 5, row


def test_example_photos_are_small_and_readable() -> None:
    assert len(PHOTOS) >= 10
    for photo in PHOTOS:
        assert photo.stat().st_size < 63_000
        assert max(open_photo(photo).size) <= 640


def test_the_default_model_describes_the_examples_and_doubts_two_of_them() -> None:
    """The captions that a person compared with the photos; after a new model, compare again."""
    captions = {caption.path.name: caption for caption in Captioner.load().caption(PHOTOS)}
    for name, description in DESCRIPTIONS.items():
        assert re.search(description, captions[name].text or ""), captions[name]
        assert (captions[name].confidence or 0) >= GUESS_BELOW, captions[name]
    doubted = set(captions) - set(DESCRIPTIONS)
    assert doubted == {"camels.jpg", "panda.jpg"}
    assert all((captions[name].confidence or 0) < SURE_FROM for name in doubted)


def test_readme_and_notice_state_the_terms_of_the_model() -> None:
    for name in ("README.md", "NOTICE"):
        text = " ".join((ROOT / name).read_text("utf-8").split())
        for word in ("Flickr8k", "Hockenmaier", "research and education", "google-coral/edgetpu"):
            assert word in text, (name, word)
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text("utf-8")
