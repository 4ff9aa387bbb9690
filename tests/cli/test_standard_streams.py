from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.odd_photos import corners
from support.tiny_bundles import write_bundle

pytestmark = pytest.mark.skipif(not os.path.exists("/bin/sh"), reason="no shell")  # noqa: PTH110
needs_full_device = pytest.mark.skipif(
    not os.path.exists("/dev/full"),  # noqa: PTH110
    reason="no /dev/full",
)
WITHOUT_HOME = """
import os, pwd, sys

def unknown(_):
    raise KeyError("uid not found")

pwd.getpwuid = unknown
for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "SHOWTELL_CACHE"):
    os.environ.pop(name, None)
from showtell.cli import main

main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("models") / "tiny").path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    corners().save(tmp_path / "a.png")
    return tmp_path / "a.png"


def shell(
    command: str,
    redirections: str,
    program: tuple[str, ...] = ("-m", "showtell"),
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a showtell command in a shell, with redirections."""
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        ["/bin/sh", "-c", f'exec "$@" {command} {redirections}', "sh", sys.executable, *program],
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
        **options,
    )


@pytest.mark.parametrize("redirections", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_error(
    tmp_path: Path, photo: Path, model: Path, redirections: str
) -> None:
    catalogue = f"--catalogue {tmp_path}/c.sqlite"
    for command in (
        f"caption {photo} -m {model}",
        f"photos scan {tmp_path} -m {model} {catalogue}",
        f"photos search a {catalogue}",
        f"photos write {catalogue}",
    ):
        done = shell(command, redirections)
        assert (command, done.returncode) == (command, 0), done.stderr
        assert "Traceback" not in done.stderr


def test_file_does_not_take_the_place_of_a_closed_stream(
    tmp_path: Path, photo: Path, model: Path
) -> None:
    done = shell(f"caption {photo}.no {photo} -m {model} -o {tmp_path}/out", ">&- 2>&- <&-")
    assert done.returncode == 1
    assert len((tmp_path / "out").read_text().splitlines()) == 1


def test_photo_from_closed_standard_input_is_an_error_on_one_line(model: Path) -> None:
    done = shell(f"caption - -m {model}", "<&-")
    assert (done.returncode, done.stderr) == (
        1,
        "showtell: <stdin>: empty: the file holds no bytes\n",
    )


@needs_full_device
@pytest.mark.parametrize("command", ["caption {photo} -m {model}", "--help"])
def test_full_standard_output_is_an_error_on_one_line(
    photo: Path, model: Path, command: str
) -> None:
    done = shell(command.format(photo=photo, model=model), ">/dev/full")
    assert (done.returncode, done.stderr) == (
        1,
        "showtell: standard output or another file: no space left on device\n",
    )


@needs_full_device
@pytest.mark.parametrize(("command", "code"), [("photos searc", 2), ("caption gone.jpg -m no", 1)])
def test_full_standard_error_does_not_change_the_exit_code(command: str, code: int) -> None:
    assert shell(command, "2>/dev/full").returncode == code


@pytest.mark.parametrize("options", ["--output {out}", "> {out}"])
def test_words_and_tables_are_utf8_in_a_locale_without_such_letters(
    tmp_path: Path, photo: Path, model: Path, options: str
) -> None:
    locale = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "POSIX"}
    env = {**os.environ, **locale}
    catalogue = f"--catalogue {tmp_path}/c.sqlite"
    out = tmp_path / "out.csv"
    for command in (
        f"photos scan {tmp_path} -m {model}",
        f"photos edit {photo} 'Zürich, 東京'",
        f"photos export {options.format(out=out)}",
    ):
        done = shell(f"{command} {catalogue}", "", env=env)
        assert (command, done.returncode) == (command, 0), done.stderr
    assert "Zürich, 東京" in out.read_text("utf-8")
    found = shell(f"photos search zürich {catalogue}", "", env=env)
    assert found.stdout == f"{photo}: Z\\xfcrich, \\u6771\\u4eac\n"
    wrong = shell(f"photos edit {photo} \"$(printf 'Z\\374rich')\" {catalogue}", "", env=env)
    assert wrong.returncode == 2
    assert "not UTF-8 text" in wrong.stderr


def test_reader_that_stops_early_is_quiet(photo: Path, model: Path) -> None:
    script = f'"$1" -m showtell caption {f"{photo} " * 20} -m {model} | true'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", sys.executable],
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_user_without_a_home_captions_and_is_told_what_to_set(
    tmp_path: Path, photo: Path, model: Path
) -> None:
    program = ("-c", WITHOUT_HOME)
    for command in (
        f"caption {photo} -m {model}",
        "models",
        "doctor",
    ):
        done = shell(command, "", program, cwd=tmp_path)
        assert (command, done.returncode, done.stderr) == (command, 0, "")
    for command, remedy in (
        (f"photos scan {tmp_path} -m {model}", "set HOME, or name a file with --catalogue"),
        ("models pull hf:a/b", "set HOME or SHOWTELL_CACHE"),
    ):
        done = shell(command, "", program, cwd=tmp_path)
        message = f"showtell: you have no home folder: {remedy}\n"
        assert (done.returncode, done.stderr) == (1, message)
    assert not (tmp_path / "~").exists()


def test_deleted_current_folder_is_an_error_on_one_line_only_if_it_is_needed(
    tmp_path: Path, photo: Path, model: Path
) -> None:
    (tmp_path / "gone").mkdir()
    script = 'cd "$1"; rmdir "$1"; shift; exec "$@"'
    catalogue = f"{tmp_path}/c.sqlite"

    def run(*arguments: object) -> tuple[int, str]:
        (tmp_path / "gone").mkdir(exist_ok=True)
        program = [sys.executable, "-m", "showtell", *map(str, arguments)]
        done = subprocess.run(
            ["/bin/sh", "-c", script, "sh", str(tmp_path / "gone"), *program],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stderr

    assert run("caption", photo, "-m", model) == (0, "")
    assert run("photos", "scan", tmp_path, "-m", model, "--catalogue", catalogue) == (0, "")
    code, message = run("photos", "edit", "a.png", "otters", "--catalogue", catalogue)
    assert (code, message) == (1, "showtell: the current folder: no such file or directory\n")
