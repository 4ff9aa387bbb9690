"""`showtell models`: what a person sees of it, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from showtell.bundle import MANIFEST, registry
from showtell.cli import main
from support.archive_files import make_zip
from support.dummy_bundles import bundle_files, write_dummy_bundle
from support.file_server import serve


@dataclass
class Said:
    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command with one shipped and one pulled model about."""
    monkeypatch.setenv("SHOWTELL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(registry, "shipped_models_dir", lambda: tmp_path / "shipped")
    write_dummy_bundle(tmp_path / "shipped" / "general", "general")
    write_dummy_bundle(tmp_path / "cache" / "models" / "birds", "birds")

    def command(*arguments: str) -> Said:
        with pytest.raises(SystemExit) as exit:
            main(["models", *arguments])
        said = capsys.readouterr()
        code = exit.value.code
        return Said(code if isinstance(code, int) else 0, said.out, said.err)

    return command


@pytest.mark.parametrize("arguments", [(), ("list",)])
def test_list_names_each_model_its_size_score_and_origin(
    run: Run, arguments: tuple[str, ...]
) -> None:
    said = run(*arguments)
    assert (said.code, said.err) == (0, "")
    shipped, pulled = said.out.splitlines()
    assert shipped.split("  ")[0] == "general *"
    assert "0.0 MB" in shipped
    assert "CIDEr 52.0 (dev)" in shipped
    assert shipped.endswith("shipped")
    assert pulled.startswith("birds  ")
    assert pulled.endswith("pulled")


def test_star_follows_the_variable(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOWTELL_MODEL", "birds")
    assert [line.split()[1] == "*" for line in run().out.splitlines()] == [False, True]


def test_damaged_model_is_listed_as_damaged(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cache" / "models" / "birds" / "encoder.onnx").unlink()
    said = run()
    assert said.code == 0
    assert "damaged: " in said.out
    assert "encoder.onnx: missing" in said.out


def test_list_of_nothing_says_how_to_get_something(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(registry, "shipped_models_dir", lambda: tmp_path / "no")
    monkeypatch.setenv("SHOWTELL_CACHE", str(tmp_path / "none"))
    assert run() == Said(
        0, "", "no models installed: get one with showtell models pull URL|hf:owner/repo\n"
    )


def test_show_prints_the_card_and_nothing_else_on_standard_output(run: Run) -> None:
    assert run("show").out == "# general\n\nA model of nothing.\n"
    assert run("show", "birds").out == "# birds\n\nA model of nothing.\n"


def test_show_of_an_unknown_model_is_one_line(run: Run) -> None:
    said = run("show", "bird")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("showtell: no model named 'bird': did you mean birds?")
    assert said.err.count("\n") == 1


def test_pulled_model_is_listed_shown_and_removed(run: Run, tmp_path: Path) -> None:
    archive = make_zip(
        tmp_path / "tits.zip", bundle_files(write_dummy_bundle(tmp_path / "made", "tits"))
    )
    with serve({"/tits.zip": archive.read_bytes()}) as server:
        said = run("pull", f"{server.url}/tits.zip")
    assert (said.code, said.out.split(":")[0]) == (0, "tits")
    assert run().out.splitlines()[-1].endswith(f"{server.url}/tits.zip")
    assert run("show", "tits").out.startswith("# tits")
    assert run("remove", "tits") == Said(0, "tits: removed\n", "")
    assert "tits" not in run().out


def test_pull_of_nothing_is_one_line(run: Run) -> None:
    with serve() as server:
        said = run("pull", f"{server.url}/gone.zip")
    assert said.code == 1
    assert said.err == f"showtell: {server.url}/gone.zip: HTTP 404 Not Found: check the address\n"


def test_shipped_model_is_not_removed(run: Run) -> None:
    said = run("remove", "general")
    assert (said.code, "ships with showtell" in said.err) == (1, True)


@pytest.mark.parametrize("arguments", [("pull",), ("remove",), ("steal", "x")])
def test_wrong_usage_is_exit_code_2(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).code == 2


def test_pull_in_a_pipe_draws_no_bar(tmp_path: Path) -> None:
    archive = make_zip(
        tmp_path / "tits.zip", bundle_files(write_dummy_bundle(tmp_path / "made", size=500_000))
    )
    environment = os.environ | {"SHOWTELL_CACHE": str(tmp_path / "cache")}
    with serve({"/tits.zip": archive.read_bytes()}) as server:
        done = subprocess.run(
            [sys.executable, "-m", "showtell", "models", "pull", f"{server.url}/tits.zip"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.startswith("tits: ")
    assert done.stderr == ""


def rewritten(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | changes))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[" * 100_000,
        b'{"format_version": 1}',
        b'{"format_version": 1, "name": "\xff"}',
        b'{"format_version": 1, "name": "\\ud800"}',
        b'{"format_version": 1, "\\u001b[2J": 1}',
        b'{"format_version": 1e999}',
        b" " * (17 << 20),
    ],
)
def test_damaged_model_does_not_stand_in_the_way_of_others(
    run: Run, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "cache" / "models" / "birds" / MANIFEST).write_bytes(content)
    said = run()
    assert (said.code, said.err) == (0, "")
    assert "CIDEr 52.0" in said.out.splitlines()[0]
    assert "damaged: " in said.out.splitlines()[1]
    assert said.out.replace("\n", "").isprintable()
    assert run("show").out.startswith("# general")
    said = run("show", "birds")
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert said.err[:-1].isprintable()


def test_control_characters_of_a_foreign_model_are_made_visible(run: Run, tmp_path: Path) -> None:
    birds = tmp_path / "cache" / "models" / "birds"
    rewritten(
        birds, encoder={"network": "a\x1b[2Jb", "grid": [4, 4], "channels": 3}, terms="\u202eevil"
    )
    (birds / "MODEL_CARD.md").write_text("# birds\x1b]0;title\x07\n\n\tA \u202emodel.\r\n")
    said = run("show", "birds")
    assert said.out == "# birds\\x1b]0;title\\x07\n\n\tA \\u202emodel.\n"
    assert r"a\x1b[2Jb" in run().out


def test_refused_model_is_named_without_its_control_characters(run: Run, tmp_path: Path) -> None:
    files = bundle_files(write_dummy_bundle(tmp_path / "made"))
    manifest = json.loads(files[MANIFEST]) | {"\x1b[31mred": 1}
    archive = make_zip(tmp_path / "r.zip", files | {MANIFEST: json.dumps(manifest).encode()})
    said = run("pull", str(archive))
    assert said.code == 1
    assert r"\x1b[31mred: unknown key" in said.err
    assert said.err[:-1].isprintable()
