"""The commands of docs/data.md, run as they stand; the figures there, those of the code."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from showtell.cli import main, showtell
from showtell.data.download import sources
from showtell.data.readers.registry import LAYOUTS
from support.archive_files import make_tar, make_zip
from support.dataset_downloads import (
    coco_files,
    flickr8k_files,
    flickr30k_photos,
    karpathy_files,
    pointed_at,
)
from support.file_server import serve
from support.paths import DOCS, EXAMPLES, ROOT

TEXT = (DOCS / "data.md").read_text("utf-8")
BLOCKS = [block.splitlines() for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)]
CHECK, ALBUM, DOWNLOAD, TRAIN = BLOCKS


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    (tmp_path / "examples").symlink_to(EXAMPLES)
    return tmp_path


def run(command: str) -> None:
    if not command.startswith("showtell "):
        subprocess.run(command, shell=True, check=True)
        return
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command)[1:])
    assert not ended.value.code, command


@pytest.mark.parametrize("block", [CHECK, ALBUM], ids=["shapes", "album"])
def test_commands_that_check_do_so(block, here, capsys):
    for command in block:
        run(command)
    assert capsys.readouterr().out.endswith("nothing wrong\n")


def test_commands_that_download_do_so(here, monkeypatch, capsys):
    archives = flickr8k_files() | coco_files()
    bodies = {name: make_zip(here / "made", files).read_bytes() for name, files in archives.items()}
    both = karpathy_files() | archives["caption_datasets.zip"]
    bodies["caption_datasets.zip"] = make_zip(here / "made", both).read_bytes()
    flickr30k_photos(make_tar, here / "flickr30k-images.tar.gz")
    with serve(
        {f"/{place}/{name}": body for name, body in bodies.items() for place in "ab"}
    ) as own:
        for source in list(sources.SOURCES.values()):
            monkeypatch.setitem(sources.SOURCES, source.name, pointed_at(own, source))
        for command in DOWNLOAD:
            run(command)
    said = capsys.readouterr().out
    assert said.count("nothing wrong") == len(DOWNLOAD) == len(sources.SOURCES)
    for name in sources.SOURCES:
        assert f" layout in {name}\n" in said


def test_commands_that_train_and_evaluate_are_ones_that_there_are():
    for line in TRAIN:
        _, name, *arguments = shlex.split(line)
        command = showtell.get_command(click.Context(showtell), name)
        assert command is not None
        command.make_context(name, list(arguments))
        if name == "train":
            assert (ROOT / "src" / "showtell" / "recipes" / f"{arguments[0]}.yaml").is_file()


def test_sizes_are_those_of_the_sources():
    for name, source in sources.SOURCES.items():
        row = next(line for line in TEXT.splitlines() if line.startswith(f"| `{name}` | "))
        kept = sum(archive.unpacked for archive in source.archives) / 1e9
        peak = kept + max(archive.bytes for archive in source.archives) / 1e9
        assert f"| {kept:.1f} GB ({peak:.1f} GB) |" in row


def test_every_layout_has_its_row():
    table = TEXT.split("## Layouts")[1].split("## ")[0]
    for layout in LAYOUTS:
        words = layout.name.split()
        assert words[-1] in table or words[0] in table, layout.name
