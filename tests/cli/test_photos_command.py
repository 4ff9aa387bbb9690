from __future__ import annotations

import codecs
import contextlib
import csv
import fcntl
import json
import os
import pty
import re
import resource
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from showtell.cli.photos import photos
from showtell.errors import ShowtellError
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.metadata.xmp import set_fields
from support.odd_photos import corners, encoded
from support.tiny_bundles import write_bundle

COMMANDS = ("scan", "search", "write", "undo", "edit", "export", "import")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return os.fspath(write_bundle(tmp_path_factory.mktemp("models") / "tiny").path)


@pytest.fixture
def lib(tmp_path: Path) -> Path:
    folder = tmp_path / "lib"
    folder.mkdir()
    for number in range(5):
        image = corners(40 + number, 30)
        (folder / f"{number}.jpg").write_bytes(encoded(image, "JPEG"))
    return folder


class CommandRunner:
    """Runs commands on one catalogue, in this process."""

    def __init__(self, catalogue: Path) -> None:
        self.catalogue = catalogue

    def __call__(self, *arguments: object, code: int = 0) -> Result:
        options = [str(argument) for argument in arguments]
        result = CliRunner().invoke(photos, [*options, "--catalogue", str(self.catalogue)])
        assert result.exit_code == code, (result.output, result.exception)
        return result


@pytest.fixture
def run(tmp_path: Path) -> CommandRunner:
    return CommandRunner(tmp_path / "photos.sqlite")


def run_process(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-m", "showtell", "photos", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
        **options,
    )


def test_scan_of_photos_over_max_pixels_names_them(
    run: CommandRunner, lib: Path, model: str
) -> None:
    result = run("scan", lib, "--model", model, "--max-pixels", "1300", code=1)
    assert "44 x 30 pixels are more than 1,300" in result.output
    assert "5 photos: 4 captioned" in result.output
    assert "1 captioned" in run("scan", lib, "--model", model).output


def test_scan_search_write_undo_edit_export_import(
    run: CommandRunner, lib: Path, model: str, tmp_path: Path
) -> None:
    assert run("scan", lib, "--model", model).stdout.startswith("5 photos: 5 captioned")
    assert "5 unchanged" in run("scan", lib, "--model", model).stdout
    assert run("edit", lib / "3.jpg", "two", "otters").stdout == "two otters\n"
    assert run("search", "otter").stdout == f"{lib}/3.jpg: two otters\n"
    dry_run = run("write", "--dry-run")
    assert f"{lib}/3.jpg.xmp: two otters" in dry_run.stdout
    assert "To write: 5 sidecars" in dry_run.stderr
    assert not list(lib.glob("*.xmp"))
    written = run("write")  # this model has no confidence, so nothing is left out
    assert written.stdout.startswith(
        "5 sidecars written, 0 photos changed, keywords of 0 photos changed,"
    )
    assert "1 up to date" in run("write", lib / "3.jpg").stdout
    dry_run = run("undo", "--dry-run")
    assert "wrote 5 files" in dry_run.stderr
    assert sorted(dry_run.stdout.splitlines()) == [f"{lib}/{n}.jpg.xmp: remove" for n in range(5)]
    assert len(list(lib.glob("*.xmp"))) == 5
    assert run("undo").stdout.startswith("5 files restored")
    assert not list(lib.glob("*.xmp"))
    table = tmp_path / "captions.csv"
    run("export", "--output", table)
    table.write_text(table.read_text().replace("two otters", "three otters"))
    assert run("import", table).stdout.startswith("1 caption changed, 4 unchanged")
    assert json.loads(run("search", "otters", "--format", "jsonl").stdout)["text"] == "three otters"
    assert run("export", "--source", "person").stdout.count("\n") == 2
    run("edit", lib / "3.jpg", "--clear")
    assert run("search", "otters").stdout == ""


def test_keywords_are_corrected_found_and_written(
    run: CommandRunner, lib: Path, model: str, tmp_path: Path
) -> None:
    run("scan", lib, "--model", model)
    run("edit", lib / "3.jpg", "two", "otters")
    table = tmp_path / "a.csv"
    table.write_text(f"image,caption,keywords\n{lib}/3.jpg,,ice; bear 0.6; <snow> 0.4\n")
    imported = run("import", table).stdout
    assert imported.startswith("0 captions changed, 0 unchanged, 1 blank")
    assert imported.endswith("keywords of 1 photo changed\n")
    assert run("search", "otters").stdout == f"{lib}/3.jpg: two otters\n"
    assert run("search", "bear", "ice").stdout == f"{lib}/3.jpg: two otters  [ice; bear 0.60]\n"
    assert run("search", "bear", "--min-confidence", 0.7).stdout == ""
    result = json.loads(run("search", "bear", "--format", "jsonl").stdout)
    assert result["keywords"][1] == {"word": "bear", "probability": 0.6}
    rows = run("search", "bear", "--format", "csv").stdout
    assert "ice; bear 0.60; <snow> 0.40" in rows
    page = tmp_path / "page.html"
    run("search", "snow", "--output", page)
    assert "&lt;snow&gt; 0.40" in page.read_text("utf-8")
    planned = run("write", "--dry-run", "--fields", "keywords")
    assert planned.stdout == f"{lib}/3.jpg.xmp: [keywords: ice, bear]\n"
    assert "To write: 1 sidecar (keywords of 1 photo). To skip: 4 up to date" in planned.stderr
    planned = run("write", "--dry-run", "--min-probability", 0.3, lib / "3.jpg")
    assert planned.stdout == f"{lib}/3.jpg.xmp: two otters  [keywords: ice, bear, <snow>]\n"
    assert "keywords of 1 photo changed, 0 up to date" in run("write").stdout
    run("edit", lib / "3.jpg", "--clear")
    assert "keywords of 1 photo changed, 4 up to date" in run("write").stdout


def test_doubt_is_shown_before_captions_are_written_and_in_search_results(
    run: CommandRunner, lib: Path, model: str, tmp_path: Path
) -> None:
    run("scan", lib, "--model", model)
    with Catalogue(run.catalogue) as catalogue, catalogue.transaction():
        for number, confidence in enumerate((0.1, 0.2, 0.5, 0.9, None)):
            picture = "(SELECT picture_id FROM files WHERE name = ?)"
            catalogue.execute(
                f"UPDATE pictures SET confidence = ? WHERE id = {picture}",
                (confidence, f"{number}.jpg".encode()),
            )
    guess, unsure = "  [a guess: probably wrong]\n", "  [unsure: check it]\n"
    found = run("search", "--in", lib).stdout
    assert (found.count(guess), found.count(unsure), found.count("[")) == (2, 1, 3)
    page = tmp_path / "page.html"
    run("search", "--in", lib, "--output", page)
    assert page.read_text("utf-8").count(">A guess: probably wrong</em>") == 2
    planned = run("write", "--dry-run")
    assert "To write: 3 sidecars" in planned.stderr
    assert "2 under --min-confidence 0.3" in planned.stderr
    guesses = "Of 2 captions with a confidence under 0.3, which are probably wrong, "
    assert f"{guesses}none will be written\n" in planned.stderr
    assert (planned.stdout.count(guess), planned.stdout.count(unsure)) == (0, 1)
    planned = run("write", "--dry-run", "--min-confidence", 0)
    assert f"{guesses}2 will be written\n" in planned.stderr
    assert planned.stdout.count(guess) == 2
    written = run("write")
    assert "2 under --min-confidence 0.3" in written.stderr
    assert written.stdout.startswith("3 sidecars written")
    assert "2 under --min-confidence" in written.stdout
    assert sorted(path.name[0] for path in lib.glob("*.xmp")) == ["2", "3", "4"]
    assert run("write", "--min-confidence", 0).stdout.startswith("2 sidecars written")


def test_the_suffix_of_the_output_chooses_its_format(
    run: CommandRunner, lib: Path, model: str, tmp_path: Path
) -> None:
    run("scan", lib, "--model", model)
    for name, begin in (("a.csv", "image,"), ("a", "image,"), ("a.jsonl", '{"image"')):
        run("export", "--output", tmp_path / name)
        assert (tmp_path / name).read_text("utf-8-sig").startswith(begin)
    run("export", "--format", "csv", "--output", tmp_path / "b.jsonl")
    assert (tmp_path / "b.jsonl").read_text("utf-8-sig").startswith("image,")
    assert (
        "a.zip: name it .csv or .jsonl"
        in run("export", "--output", tmp_path / "a.zip", code=2).stderr
    )
    beginnings = {"a.html": "<!doctype", "a.csv": "path,", "a.jsonl": '{"path"', "a.txt": str(lib)}
    for name, begin in beginnings.items():
        run("search", "--in", lib, "--output", tmp_path / name)
        assert (tmp_path / name).read_text("utf-8-sig").startswith(begin)
    assert isinstance(
        run("search", "--in", lib, "--output", tmp_path / "a.json", code=1).exception, ShowtellError
    )


def test_csv_files_name_their_encoding_and_confidences_have_six_digits(
    run: CommandRunner, lib: Path, model: str, tmp_path: Path
) -> None:
    run("scan", lib, "--model", model)
    with Catalogue(run.catalogue) as catalogue, catalogue.transaction():
        catalogue.execute("UPDATE pictures SET confidence = 0.12345678, latitude = 47.12345678")
    for arguments in (("export",), ("search", "--in", lib)):
        run(*arguments, "--output", tmp_path / "a.csv")
        data = (tmp_path / "a.csv").read_bytes()
        assert data.startswith(codecs.BOM_UTF8)
        text = data.decode("utf-8-sig")
        assert text.count(",0.123457,") == text.count(",47.12345678,") == 5
        assert run(*arguments, "--format", "csv").stdout == text
    run("export", "--output", tmp_path / "a.jsonl")
    assert '"confidence": 0.12345678' in (tmp_path / "a.jsonl").read_text("utf-8")


def test_import_says_that_a_blank_caption_changes_nothing(
    run: CommandRunner, lib: Path, model: str, tmp_path: Path
) -> None:
    run("scan", lib, "--model", model)
    (lib / "mine.csv").write_text("image,caption\n0.jpg,\n1.jpg,two otters\n")
    assert run("import", lib / "mine.csv").stdout == (
        "1 caption changed, 0 unchanged, 1 blank (no change: showtell photos edit --clear removes a"
        " caption), keywords of 0 photos changed\n"
    )
    assert run("import", lib / "mine.csv").stdout.startswith("0 captions changed, 1 unchanged")


def test_recaption_has_its_old_name_for_one_release(
    run: CommandRunner, lib: Path, model: str
) -> None:
    run("scan", lib, "--model", model)
    other = write_bundle(run.catalogue.parent / "other", seed=9, name="other").path
    scanned = run("scan", lib, "--model", other, "--again")
    assert "5 captioned" in scanned.stdout
    assert scanned.stderr == "showtell: warning: --again is deprecated: use --recaption\n"
    scanned = run("scan", lib, "--model", model, "--recaption")
    assert (scanned.stderr, "0 captioned" in scanned.stdout) == ("", True)


def test_search_excludes_words_that_look_like_options(
    run: CommandRunner, lib: Path, model: str
) -> None:
    run("scan", lib, "-m", model)
    run("edit", lib / "0.jpg", "a hat on a bench")
    run("edit", lib / "1.jpg", "a hat on a chair")
    assert run("search", "hat", "-chair").stdout == f"{lib}/0.jpg: a hat on a bench\n"
    assert run("search", "hat", "-bench", "-mouse").stdout == f"{lib}/1.jpg: a hat on a chair\n"
    assert "No such option: --limt" in run("search", "hat", "--limt=3", code=2).stderr
    result = run("search", "unicorn", "hat")
    assert (result.stdout, "no photos found" in result.stderr) == ("", True)
    assert run("search", "unicorn", "hat", "--any").stdout.count("\n") == 2
    assert run("search", "--like", lib / "0.jpg", "--limit", 2).stdout.count("\n") == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("search",), "give words to search for"),
        (("search", "x", "--like", __file__), "not both"),
        (("search", "x", "--limit", "0"), "0 is not in the range"),
        (("write", "--fields", "title"), "choose from description, alt, iptc"),
        (("edit", "x.jpg"), "no CAPTION"),
        (("edit", "x.jpg", "words", "--clear"), "not both"),
        (("scan", "/no/such/folder"), "does not exist"),
    ],
)
def test_wrong_usage_is_explained_and_exits_with_2(
    run: CommandRunner, arguments: tuple[str, ...], reason: str, lib: Path, model: str
) -> None:
    Catalogue(run.catalogue, create=True).close()
    assert reason in run(*arguments, code=2).stderr


def test_errors_are_one_line_with_a_hint(lib: Path, tmp_path: Path) -> None:
    result = run_process("search", "dog", "--catalogue", tmp_path / "no.sqlite")
    assert result.returncode == 1
    assert result.stderr == (
        f"showtell: {tmp_path}/no.sqlite: no catalogue here:"
        " create one with showtell photos scan DIR\n"
    )
    result = run_process("search", "dog", "--after", "soon", "--catalogue", tmp_path / "no.sqlite")
    assert result.stderr.count("\n") == 1


def test_default_catalogue_is_in_the_platforms_data_folder(
    lib: Path, model: str, tmp_path: Path
) -> None:
    variables = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data")}
    result = run_process("scan", lib, "-m", model, env=variables)
    assert (result.returncode, result.stderr) == (0, "")
    if sys.platform == "linux":
        assert (tmp_path / "data" / "showtell" / "photos.sqlite").is_file()
    result = run_process("search", "", "a", "--any", env=variables)
    assert result.returncode == 0


def test_unreadable_photos_are_reported_and_exit_with_1(
    run: CommandRunner, lib: Path, model: str
) -> None:
    (lib / "bad.jpg").write_bytes(b"not a photo")
    result = run("scan", lib, "-m", model, code=1)
    assert "1 failed" in result.stdout
    assert result.stderr.startswith(f"showtell: {lib}/bad.jpg: not a photo")


def test_html_page_is_complete(run: CommandRunner, lib: Path, model: str, tmp_path: Path) -> None:
    run("scan", lib, "-m", model)
    run("search", "a*", "--any", "--format", "html", "--output", tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text("utf-8").rstrip().endswith("</html>")


def test_captions_of_two_models_in_one_library_are_pointed_out(
    run: CommandRunner, lib: Path, model: str, tmp_path: Path
) -> None:
    other = write_bundle(tmp_path / "models" / "other", seed=9, name="other").path
    assert "models" not in run("scan", lib, "--model", model).stderr
    (lib / "new.jpg").write_bytes(encoded(corners(90, 60), "JPEG"))
    mixed = run("scan", lib, "--model", other)
    assert "1 captioned" in mixed.stdout
    assert re.search(
        r"captions by 2 models: tiny@\w+ 5, other@\w+ 1. --recaption captions all", mixed.stderr
    )
    similar = run("search", "--like", lib / "0.jpg")
    assert "photos that another model captioned were not compared" in similar.stderr
    assert "models" not in run("scan", lib, "--model", other, "--recaption").stderr
    assert run("search", "--like", lib / "0.jpg").stderr == ""


def test_every_command_has_help_with_examples() -> None:
    for name in COMMANDS:
        result = CliRunner().invoke(photos, [name, "--help"])
        assert result.exit_code == 0
        assert f"\n  showtell photos {name}" in result.stdout
    assert set(photos.commands) == set(COMMANDS)


def test_shells_complete_commands_and_options() -> None:
    for words, expected in (
        ("showtell photos s", "search"),
        ("showtell photos write --ov", "over"),
    ):
        result = subprocess.run(
            [sys.executable, "-m", "showtell"],
            capture_output=True,
            text=True,
            timeout=300,
            env={
                **os.environ,
                "_SHOWTELL_COMPLETE": "bash_complete",
                "COMP_WORDS": words,
                "COMP_CWORD": str(words.count(" ")),
            },
        )
        assert expected in result.stdout


def test_light_install_is_enough(lib: Path, model: str, run: CommandRunner) -> None:
    script = f"""
import sys
for name in ("torch", "timm", "yaml", "pillow_heif", "matplotlib"):
    sys.modules[name] = None
from showtell.cli import main
for words in (["scan", {os.fspath(lib)!r}, "-m", {model!r}], ["search", "a"], ["write"], ["undo"]):
    try:
        main(["photos", *words, "--catalogue", {os.fspath(run.catalogue)!r}])
    except SystemExit as end:
        assert not end.code, words
"""
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PATH": "/nowhere"},
    )
    assert result.returncode == 0, result.stderr
    assert "5 files restored" in result.stdout


def test_interrupted_scan_keeps_saved_captions(
    run: CommandRunner, tmp_path: Path, model: str, lib: Path
) -> None:
    for number in range(300):
        (lib / f"more{number}.png").write_bytes(encoded(corners(50 + number, 40), "PNG"))
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "showtell",
            "photos",
            "scan",
            lib,
            "-m",
            model,
            "--batch-size",
            "2",
            "--catalogue",
            run.catalogue,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 240
    saved = 0
    while not saved and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
        if run.catalogue.exists():
            with Catalogue(run.catalogue, create=True) as opened:
                saved = opened.value("SELECT count(*) FROM captions")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=240)
    assert (process.returncode, errors.splitlines()[-1]) == (130, "showtell: interrupted")
    with Catalogue(run.catalogue) as opened:
        saved = opened.value("SELECT count(*) FROM captions")
    assert f"showtell: {saved} captions saved: the next scan continues\n" in errors
    assert 0 < saved < 305
    assert f"{305 - saved} captioned" in run("scan", lib, "-m", model).stdout


def test_interrupted_write_says_what_it_wrote_and_how_to_undo_it(
    run: CommandRunner, lib: Path, model: str
) -> None:
    for number in range(300):
        (lib / f"more{number}.png").write_bytes(encoded(corners(50 + number, 40), "PNG"))
    run("scan", lib, "-m", model)
    process = subprocess.Popen(
        [sys.executable, "-m", "showtell", "photos", "write", "--catalogue", run.catalogue],
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    while len(list(lib.glob("*.xmp"))) < 20:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=240)
    written = len(list(lib.glob("*.xmp")))
    assert process.returncode == 130
    assert "showtell photos undo to revert them" in errors
    assert run("undo").stdout.startswith(f"{written} files restored")


def test_a_list_that_is_cut_says_how_many_photos_match(
    run: CommandRunner, lib: Path, model: str
) -> None:
    for number in range(20):
        (lib / f"more{number}.png").write_bytes(encoded(corners(50 + number, 40), "PNG"))
    run("scan", lib, "-m", model)
    cut = run("search", "--in", lib)
    assert (cut.stdout.count("\n"), cut.stderr) == (20, "20 of 25 photos: --limit N shows more\n")
    for options in (("--limit", 3), ("--limit", 25), ("--format", "csv")):
        assert run("search", "--in", lib, *options).stderr == ""


def test_search_takes_short_options_that_stand_alone(
    run: CommandRunner, lib: Path, model: str, tmp_path: Path
) -> None:
    run("scan", lib, "-m", model)
    captions = ("an otter", "a moose and an otter", "an otter in Oslo")
    for number, caption in enumerate(captions):
        run("edit", lib / f"{number}.jpg", caption)
    found = f"{lib}/0.jpg: an otter\n"
    assert run("search", "otter", "-moose", "-oslo").stdout == found
    run("search", "otter", "-moose", "-oslo", "-o", tmp_path / "otters.txt")
    assert (tmp_path / "otters.txt").read_text() == found
    assert "Usage: " in run("search", "-h").stdout
    new = tmp_path / "new.jpg"
    new.write_bytes(encoded(corners(90, 30), "JPEG"))
    assert run("search", "--like", new, "-m", model).stdout.count("\n") == 5


def test_doubtful_captions_can_be_listed_and_exported_first(
    run: CommandRunner, lib: Path, model: str
) -> None:
    run("scan", lib, "--model", model)
    with Catalogue(run.catalogue) as catalogue, catalogue.transaction():
        for number, confidence in enumerate((0.5, 0.2, 0.9, None, 0.1)):
            picture = "(SELECT picture_id FROM files WHERE name = ?)"
            catalogue.execute(
                f"UPDATE pictures SET confidence = ? WHERE id = {picture}",
                (confidence, f"{number}.jpg".encode()),
            )
    for command in (("search", "--in", lib, "--format", "csv"), ("export",)):
        for options, expected in {
            (): "01234",
            ("--sort", "doubtful"): "41023",
            ("--sort", "surest"): "20143",
            ("--max-confidence", "0.5", "--sort", "doubtful"): "410",
            ("--max-confidence", "0.5", "--min-confidence", "0.2"): "01",
        }.items():
            rows = csv.reader(run(*command, *options).stdout.splitlines()[1:])
            assert "".join(Path(row[0]).stem for row in rows) == expected
    result = run("search", "--like", lib / "0.jpg", "--sort", "name", code=2)
    assert "leave out --sort" in result.stderr


def test_a_plan_names_the_fields_that_are_kept(run: CommandRunner, lib: Path, model: str) -> None:
    run("scan", lib, "--model", model)
    (lib / "0.jpg.xmp").write_bytes(set_fields(None, {"description": "by hand"}))
    both = {"description": "by hand", "alt": "by hand"}
    (lib / "1.jpg.xmp").write_bytes(set_fields(None, both))
    planned = run("write", "--dry-run")
    lines = planned.stdout.splitlines()
    assert lines[0].startswith(f"{lib}/0.jpg.xmp: ")
    assert lines[0].endswith("  [kept: description]")
    assert lines[1] == f"{lib}/1.jpg: [kept: description, alt]"
    kept = (
        "Kept as a person or another program wrote it (see --overwrite):"
        " description of 2 photos, alt of 1 photo\n"
    )
    assert kept in planned.stderr
    written = run("write")
    assert kept in written.stderr
    assert written.stdout.endswith(kept)


def test_undo_shows_the_time_of_the_run_as_clocks_here_do(
    run: CommandRunner, lib: Path, model: str
) -> None:
    run("scan", lib, "--model", model)
    run("write")
    with Catalogue(run.catalogue) as catalogue, catalogue.transaction():
        catalogue.execute("UPDATE runs SET started = '2026-07-01T10:00:00Z'")
    shown = run_process(
        "undo", "--dry-run", "--catalogue", run.catalogue, env={**os.environ, "TZ": "XYZ-2"}
    )
    assert shown.stderr == "The run of 2026-07-01 12:00:00 wrote 5 files.\n"


def test_a_broken_link_counts_as_failed(run: CommandRunner, lib: Path, model: str) -> None:
    (lib / "link.jpg").symlink_to(lib / "nothing.jpg")
    result = run("scan", lib, "--model", model, code=1)
    assert result.stdout.startswith("6 photos: 5 captioned, ")
    assert ", 1 failed, " in result.stdout


def test_edit_of_a_photo_that_is_missing_or_broken_names_the_reason(
    run: CommandRunner, lib: Path, model: str
) -> None:
    (lib / "broken.jpg").write_bytes(b"not a photo")
    run("scan", lib, "--model", model, code=1)
    missing = run("edit", lib / "no.jpg", "an otter", code=1)
    assert str(missing.exception) == f"{lib}/no.jpg: no such file"
    broken = run("edit", lib / "broken.jpg", "an otter", code=1)
    assert str(broken.exception).startswith(f"{lib}/broken.jpg: not a photo")
    assert str(broken.exception).endswith(": repair or replace the photo, then scan again")


def test_write_that_reaches_the_file_size_limit_loses_nothing(
    run: CommandRunner, lib: Path, model: str, tmp_path: Path
) -> None:
    run("scan", lib, "-m", model)
    (lib / "3.jpg.xmp").write_bytes(set_fields(None, {}) + b"<!--" + b" " * 3_000_000 + b"-->")
    before = {path: path.read_bytes() for path in lib.iterdir()}

    def limit_file_size() -> None:  # no file may grow larger than the catalogue needs
        limit = 2_000_000
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    result = run_process("write", "--catalogue", run.catalogue, preexec_fn=limit_file_size)
    assert result.returncode == 1
    assert (
        "3.jpg.xmp: larger than the file size limit (ulimit -f). No data is lost" in result.stderr
    )
    assert "Traceback" not in result.stderr
    now = {path: path.read_bytes() for path in lib.iterdir()}
    assert {path: now[path] for path in before} == before
    assert not [path for path in now if path.name.startswith(".showtell")]
    with Catalogue(run.catalogue) as opened:
        assert opened.is_intact()
    assert "sidecars written" in run("write").stdout
    run("undo")
    assert {path: path.read_bytes() for path in lib.iterdir()} == before


def run_on_terminal(answer: str, *arguments: object) -> tuple[int, str]:
    """Run a command on a terminal on which `answer` is typed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "showtell", "photos", *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        close_fds=True,
    )
    os.close(theirs)
    os.write(ours, answer.encode())
    shown = b""
    with contextlib.suppress(OSError):  # the terminal's end
        while data := os.read(ours, 4096):
            shown += data
    os.close(ours)
    return process.wait(timeout=300), shown.decode()


def test_terminal_shows_a_progress_bar_and_asks_before_writing(
    run: CommandRunner, lib: Path, model: str
) -> None:
    options = ("--catalogue", run.catalogue)
    code, shown = run_on_terminal("", "scan", lib, "-m", model, "--batch-size", 1, *options)
    assert code == 0
    assert "5 photos found: 100%" in shown
    code, shown = run_on_terminal("n\n", "write", *options)
    assert code != 0
    assert shown.index("To write: 5 sidecars") < shown.index("Continue? [y/N]")
    assert not list(lib.glob("*.xmp"))
    code, shown = run_on_terminal("y\n", "write", *options)
    assert (code, len(list(lib.glob("*.xmp")))) == (0, 5)
    code, shown = run_on_terminal("", "undo", "--yes", *options)
    assert (code, list(lib.glob("*.xmp"))) == (0, [])
    assert "Continue?" not in shown
