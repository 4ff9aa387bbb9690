"""Every command and snippet in the documentation runs, and the site builds."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from showtell.cli import showtell
from support.documentation import Block, blocks_of
from support.paths import DOCS, EXAMPLES, ROOT, TESTS
from support.wheel_install import WheelInstall, install_wheel

pytestmark = pytest.mark.extras

RENDERED = ("notebook.md",)  # by docs/render_notebook.py, from a notebook that has a test
SMALL = {"train": 12, "dev": 4}  # photos of Flickr8k that marked blocks are run on


PAGES = sorted(page for page in DOCS.glob("*.md") if page.name not in RENDERED)
WITH_BLOCKS = [page for page in PAGES if blocks_of(page)]
TESTED_ELSEWHERE = {
    "data.md": TESTS / "data" / "test_data_docs.py",
    "serving.md": TESTS / "server" / "test_serving_docs.py",
}
RUN_HERE = [page.name for page in WITH_BLOCKS if page.name not in TESTED_ELSEWHERE]


def commands_of(text: str) -> list[list[str]]:
    """Return the `showtell` commands of a shell block, as lists of arguments."""
    text = re.sub(r"<<'END'\n.*?^END$", "", text, flags=re.DOTALL | re.MULTILINE)
    commands = []
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        parts = " ".join(shlex.quote(word) if word not in "|&&;<>" else word for word in words)
        for part in re.split(r"\s(?:\||&&|;|<|>)\s", f"{parts} "):
            arguments = shlex.split(part)
            if arguments[:1] == ["showtell"]:
                commands.append(arguments[1:])
    return commands


@pytest.fixture(scope="session")
def wheel_install(tmp_path_factory: pytest.TempPathFactory) -> WheelInstall:
    return install_wheel(tmp_path_factory.mktemp("wheel"))


def run_block(
    block: Block, folder: Path, installed: WheelInstall, weights: Path | None = None
) -> None:
    if block.language == "python":
        command: list[str | Path] = [installed.bin / "python", "-c", block.text]
    else:
        # a page installs from a clone; the test installs the wheel that the clone builds
        text = re.sub(r"^(pip install )\.", rf"\1{installed.wheel}", block.text, flags=re.MULTILINE)
        text = re.sub(r'^(pip install ")\.', rf"\1{installed.wheel}", text, flags=re.MULTILINE)
        if block.train_options:
            more = block.train_options.replace("WEIGHTS", str(weights))
            text = re.sub(r"^(showtell train [^#\n]*)", rf"\1 {more} ", text, flags=re.MULTILINE)
        command = ["bash", "-euo", "pipefail", "-c", text]
    result = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1500,
        env=installed.variables,
    )
    assert result.returncode == 0, f"{block.text}\n{result.stdout}\n{result.stderr}"
    assert "does not provide the extra" not in result.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    return tmp_path


@pytest.mark.parametrize("page", TESTED_ELSEWHERE)
def test_a_page_that_is_not_run_here_is_run_by_another_test(page: str) -> None:
    assert f'DOCS / "{page}"' in TESTED_ELSEWHERE[page].read_text("utf-8")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", RUN_HERE)
def test_each_block_of_the_page_runs(page: str, folder: Path, wheel_install: WheelInstall) -> None:
    blocks = [block for block in blocks_of(DOCS / page) if block.condition == "always"]
    for block in blocks:
        run_block(block, folder, wheel_install)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "page",
    [page for page in RUN_HERE if any(b.condition == "shared" for b in blocks_of(DOCS / page))],
)
def test_blocks_that_need_flickr8k_run_on_a_small_part_of_it(
    page: str, folder: Path, shared_dir: Path, wheel_install: WheelInstall
) -> None:
    part_of_flickr8k(shared_dir / "flickr8k", folder / "flickr8k")
    blocks = blocks_of(DOCS / page)
    weights = shared_dir / "weights" / "mobilenetv2_100.safetensors"
    makes_data = [b for b in blocks if b.condition == "always" and "captions.csv" in b.text]
    for block in [*makes_data[:1], *(block for block in blocks if block.condition == "shared")]:
        run_block(block, folder, wheel_install, weights)


def part_of_flickr8k(whole: Path, part: Path) -> None:
    texts = "Flickr8k_text"
    (part / texts).mkdir(parents=True)
    (part / "Flicker8k_Dataset").symlink_to(whole / "Flicker8k_Dataset")
    kept: set[str] = set()
    for split, count in SMALL.items():
        name = f"Flickr_8k.{split}Images.txt"
        names = (whole / texts / name).read_text().splitlines()[:count]
        (part / texts / name).write_text("\n".join(names) + "\n")
        kept.update(names)
    lines = (whole / texts / "Flickr8k.token.txt").read_text("utf-8").splitlines()
    lines = [line for line in lines if line.partition("#")[0] in kept]
    (part / texts / "Flickr8k.token.txt").write_text("\n".join(lines) + "\n", "utf-8")


@pytest.mark.parametrize("page", [page.name for page in WITH_BLOCKS])
def test_commands_and_options_of_the_page_exist(page: str) -> None:
    for block in blocks_of(DOCS / page):
        assert block.condition in ("always", "shared", "parse"), block.condition
        for arguments in commands_of(block.text) if block.language == "sh" else []:
            command: click.Command = showtell
            while isinstance(command, click.Group):
                name, *arguments = arguments or ["--help"]
                if name.startswith("-"):
                    break
                subcommand = command.get_command(click.Context(command), name)
                assert subcommand is not None, f"{page}: no command {name}"
                command = subcommand
            if not isinstance(command, click.Group):
                try:
                    command.make_context("showtell", list(arguments))
                except click.BadParameter as error:  # a path of the reader's own
                    if "does not exist" not in str(error):
                        raise
                except click.exceptions.Exit:
                    assert arguments == ["--help"], arguments


@pytest.mark.parametrize("page", [page.name for page in sorted(DOCS.glob("*.md"))])
def test_tables_have_no_blank_lines(page: str) -> None:
    """A blank line inside a table turns the rest of it into a paragraph."""
    tables = re.findall(r"(?:^\|.*\n)+", (DOCS / page).read_text("utf-8"), re.MULTILINE)
    for table in tables:
        _, rule, *_ = [*table.splitlines(), ""]
        assert re.fullmatch(r"\|[\s:|-]+\|", rule), table


def test_index_links_to_every_page() -> None:
    """On GitHub its links are the only way to the pages; the site makes its menu of them."""
    links = re.findall(
        r"^- \[(.*?)\]\((.*?)\)", (DOCS / "index.md").read_text("utf-8"), re.MULTILINE
    )
    pages = {page.name for page in DOCS.glob("*.md")} - {"index.md"}
    assert sorted(link for _, link in links) == sorted(pages)
    for title, link in links:
        assert (DOCS / link).read_text("utf-8").startswith(f"# {title}\n"), link


@pytest.mark.parametrize(
    ("page", "way"),
    [
        ("python.md", "python -m pydoc showtell.Captioner"),
        ("commands.md", "showtell caption --help"),
        ("model-card.md", "/src/showtell/bundles/general/MODEL_CARD.md)"),
    ],
)
def test_generated_pages_say_how_to_read_them_on_github(page: str, way: str) -> None:
    assert way in (DOCS / page).read_text("utf-8").partition("{")[0]


def test_python_of_the_docs_passes_strict_type_checks(tmp_path: Path) -> None:
    # pages that import no PyTorch, with which mypy takes four times as long
    pages = ("captioning.md", "python.md", "quick-start.md", "serving.md")
    for page in (*(DOCS / name for name in pages), ROOT / "README.md"):
        for number, block in enumerate(blocks_of(page)):
            if block.language == "python":
                name = f"{page.stem}_{number}".replace("-", "_").lower()
                (tmp_path / f"{name}.py").write_text(block.text, "utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "MYPYPATH": str(ROOT / "src")},
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_nothing_is_installed_by_a_name_that_is_not_published() -> None:
    texts = [*DOCS.glob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("notebooks/*.ipynb")]
    texts += [*ROOT.glob("deploy/*"), *ROOT.glob("src/**/*.py")]
    by_name = re.compile(r"pip install (?:-\S+ )*[\"']*showtell\b(?!-)")
    lines = [
        f"{path.name}: {line}"
        for path in texts
        if path.name not in ("CHANGELOG.md", "UPGRADING.md") and path.is_file()
        for line in path.read_text("utf-8").splitlines()
        if by_name.search(line)
    ]
    assert lines == []


def test_extras_in_install_commands_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras_in_pages = set()
    for page in (*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for extras in re.findall(r'pip install (?:-e )?"?[\w.]+\[([\w,]+)\]', page.read_text()):
            extras_in_pages.update(extras.split(","))
    assert extras_in_pages
    assert extras_in_pages <= set(project["optional-dependencies"])


def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    site = tmp_path / "site"
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "--keep-going",
            "-q",
            "-d",
            tmp_path / "trees",
            DOCS,
            site,
        ],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert (result.returncode, result.stderr) == (0, "")
    commands = (site / "commands.html").read_text("utf-8")
    for name in showtell.list_commands(click.Context(showtell)):
        assert f'id="showtell-{name}"' in commands, name
    assert "Caption one photo, or many" in (site / "python.html").read_text("utf-8")
    for page in PAGES:
        assert (site / page.with_suffix(".html").name).is_file()
