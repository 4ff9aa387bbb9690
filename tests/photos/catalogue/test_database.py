from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from showtell import Captioner
from showtell.caption import Keyword
from showtell.errors import CatalogueError
from showtell.photos.catalogue import database as module
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.keywords import store_keyword_edit
from showtell.photos.catalogue.pictures import has_caption
from showtell.photos.catalogue.schema import APPLICATION_ID, MIGRATIONS
from showtell.photos.catalogue.search import search_photos
from support.photo_library import library, scan_fully, write_fully

EXTRA_MIGRATION = (
    "ALTER TABLE pictures ADD COLUMN stars INTEGER",
    "CREATE TABLE places (id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
)


def test_new_catalogue_has_version_wal_and_foreign_keys(tmp_path: Path) -> None:
    with Catalogue(tmp_path / "new" / "photos.sqlite", create=True) as catalogue:
        assert catalogue.value("PRAGMA user_version") == len(MIGRATIONS)
        assert catalogue.value("PRAGMA application_id") == APPLICATION_ID
        assert catalogue.value("PRAGMA journal_mode") == "wal"
        with pytest.raises(CatalogueError, match="FOREIGN KEY"):
            catalogue.execute("INSERT INTO edits VALUES (7, 'words', 'now')")
        assert catalogue.is_intact()


def test_older_catalogue_is_migrated_and_keeps_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "photos.sqlite"
    with Catalogue(path, create=True) as catalogue:
        catalogue.execute("INSERT INTO pictures (hash, caption) VALUES (x'01', 'otters')")
    monkeypatch.setattr(module, "MIGRATIONS", (*MIGRATIONS, EXTRA_MIGRATION))
    with Catalogue(path) as catalogue:
        assert catalogue.value("PRAGMA user_version") == len(MIGRATIONS) + 1
        assert catalogue.row("SELECT caption, stars FROM pictures") == ("otters", None)
        assert catalogue.is_intact()
    monkeypatch.undo()
    newer = rf"newer showtell \(format {len(MIGRATIONS) + 1}.*upgrade showtell"
    with pytest.raises(CatalogueError, match=newer):
        Catalogue(path)


def test_catalogue_of_format_1_keeps_its_rows_under_the_new_column_names(tmp_path: Path) -> None:
    path = tmp_path / "photos.sqlite"
    with sqlite3.connect(path) as old:
        for statement in MIGRATIONS[0]:
            old.execute(statement)
        old.execute("INSERT INTO folders (id, path) VALUES (1, x'2f')")
        old.execute("INSERT INTO pictures (id, hash) VALUES (1, x'01')")
        old.execute(
            "INSERT INTO files (id, folder_id, name, picture_id, size, mtime_ns, gone)"
            " VALUES (1, 1, x'61', 1, 5, 6, '2024-01-01')"
        )
        old.execute("INSERT INTO captions VALUES (1, 'm', 'an otter', 0.5, -1, '2024-01-02')")
        old.execute("INSERT INTO edits VALUES (1, 'two otters', '2024-01-03')")
        old.execute("INSERT INTO runs (id, token, began) VALUES (1, 't', '2024-01-04')")
        old.execute(
            "INSERT INTO writes (run_id, file_id, path, state, words)"
            " VALUES (1, 1, x'62', 'done', 'two otters')"
        )
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
    old.close()
    with Catalogue(path) as catalogue:
        assert catalogue.value("PRAGMA user_version") == len(MIGRATIONS)
        assert catalogue.value("SELECT missing_since FROM files") == "2024-01-01"
        assert catalogue.value("SELECT created FROM captions") == "2024-01-02"
        assert catalogue.value("SELECT created FROM edits") == "2024-01-03"
        assert catalogue.value("SELECT started FROM runs") == "2024-01-04"
        assert catalogue.value("SELECT caption FROM writes") == "two otters"
        assert catalogue.is_intact()


def test_catalogue_of_format_3_is_searched_without_keywords_until_it_has_some(
    tmp_path: Path,
) -> None:
    path = tmp_path / "photos.sqlite"
    with sqlite3.connect(path) as old:
        for statements in MIGRATIONS[:3]:
            for statement in statements:
                old.execute(statement)
        old.execute("INSERT INTO folders (id, path) VALUES (1, x'2f')")
        old.execute("INSERT INTO pictures (id, hash, caption) VALUES (1, x'01', 'an otter')")
        old.execute(
            "INSERT INTO files (id, folder_id, name, picture_id, size, mtime_ns, pending)"
            " VALUES (1, 1, x'61', 1, 5, 6, 0)"
        )
        old.execute("INSERT INTO captions VALUES (1, 'm', 'an otter', 0.5, -1, '2024-01-02')")
        old.execute("INSERT INTO search (rowid, caption) VALUES (1, 'an otter')")
        old.execute("INSERT INTO runs (id, token, started) VALUES (1, 't', '2024-01-04')")
        old.execute(
            "INSERT INTO writes (run_id, file_id, path, state, caption)"
            " VALUES (1, 1, x'62', 'done', 'an otter')"
        )
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 3")
    old.close()
    with Catalogue(path) as catalogue:
        assert catalogue.value("PRAGMA user_version") == len(MIGRATIONS)
        [record] = search_photos(catalogue, "otters")
        assert (record.caption, record.keywords) == ("an otter", ())
        assert catalogue.row("SELECT caption, keywords FROM writes") == ("an otter", None)
        assert not has_caption(catalogue, 1, "m")  # --recaption gives it keywords
        with catalogue.transaction():
            store_keyword_edit(catalogue, 1, [Keyword("ice", 1.0)])
        assert [item.keywords for item in search_photos(catalogue, "ice")] == [
            (Keyword("ice", 1.0),)
        ]
        assert catalogue.is_intact()


def test_failed_migration_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photos.sqlite"
    Catalogue(path, create=True).close()
    monkeypatch.setattr(
        module, "MIGRATIONS", (*MIGRATIONS, EXTRA_MIGRATION, ("SELECT no_such_column",))
    )
    with pytest.raises(CatalogueError, match="no_such_column"):
        Catalogue(path)
    monkeypatch.undo()
    with Catalogue(path) as catalogue:
        assert catalogue.value("PRAGMA user_version") == len(MIGRATIONS)
        assert "stars" not in {row[1] for row in catalogue.rows("PRAGMA table_info (pictures)")}


def test_missing_foreign_and_damaged_files_are_rejected_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "photos.sqlite"
    with pytest.raises(
        CatalogueError, match="no catalogue here: create one with showtell photos scan"
    ):
        Catalogue(path)
    with pytest.raises(CatalogueError, match="not a file"):
        Catalogue(tmp_path)
    path.write_bytes(b"no database, but a diary of some length" * 50)
    with pytest.raises(CatalogueError, match=f"{path}: damaged"):
        Catalogue(path, create=True)
    assert path.read_bytes().startswith(b"no database")
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mail (text)")
    before = other.read_bytes()
    with pytest.raises(CatalogueError, match="another program"):
        Catalogue(other, create=True)
    assert other.read_bytes() == before
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(CatalogueError, match="folder cannot be created"):
        Catalogue(blocked / "photos.sqlite", create=True)


def test_damaged_page_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "photos.sqlite"
    with Catalogue(path, create=True) as catalogue:
        catalogue.execute_many(
            "INSERT INTO pictures (hash, caption) VALUES (?, ?)",
            ((bytes([n, n]), f"words {n}" * 30) for n in range(200)),
        )
        page = catalogue.value("SELECT rootpage FROM sqlite_master WHERE name = 'pictures'")
    data = bytearray(path.read_bytes())
    data[4096 * (page - 1) : 4096 * page] = bytes(4096)
    path.write_bytes(data)
    with Catalogue(path) as catalogue:
        assert not catalogue.is_intact()
        with pytest.raises(CatalogueError, match="damaged"):
            list(catalogue.rows("SELECT * FROM pictures"))


def test_locked_catalogue_is_an_error_after_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "photos.sqlite"
    monkeypatch.setattr(module, "BUSY_TIMEOUT", 0.3)
    with Catalogue(path, create=True) as catalogue, Catalogue(path, any_thread=True) as other:
        other.execute("BEGIN IMMEDIATE")
        with (
            pytest.raises(CatalogueError, match="locked by another program"),
            catalogue.transaction(),
        ):
            pass
        monkeypatch.undo()
        with Catalogue(path) as patient:
            threading.Timer(0.2, lambda: other.execute("COMMIT")).start()
            with patient.transaction():
                patient.execute("INSERT INTO pictures (hash) VALUES (x'02')")
        assert catalogue.value("SELECT count(*) FROM pictures") == 1


def test_failed_transaction_is_rolled_back(tmp_path: Path) -> None:
    with Catalogue(tmp_path / "photos.sqlite", create=True) as catalogue:

        def fail() -> None:
            with catalogue.transaction(durable=True):
                catalogue.execute("INSERT INTO pictures (hash) VALUES (x'03')")
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        assert catalogue.value("SELECT count(*) FROM pictures") == 0
        assert catalogue.value("PRAGMA synchronous") == 1


def test_concurrent_creation_of_one_catalogue_succeeds(tmp_path: Path) -> None:
    path, failures = tmp_path / "photos.sqlite", []

    def insert_picture(number: int) -> None:
        try:
            with Catalogue(path, create=True) as catalogue, catalogue.transaction():
                catalogue.execute("INSERT INTO pictures (hash) VALUES (?)", (bytes([number]),))
        except CatalogueError as error:
            failures.append(error)

    threads = [threading.Thread(target=insert_picture, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with Catalogue(path) as catalogue:
        assert catalogue.value("SELECT count(*) FROM pictures") == 8


DAMAGING_STATEMENTS = [
    "UPDATE folders SET path = 'text' || id",
    "UPDATE files SET name = id",
    "UPDATE files SET mtime_ns = 'text'",
    "UPDATE pictures SET hash = 'text' || id",
    "UPDATE pictures SET caption = x'ff'",
    "UPDATE features SET vector = 'text'",
    "UPDATE writes SET path = 'text'",
    "UPDATE writes SET before = 'text'",
]


@pytest.mark.parametrize("statement", DAMAGING_STATEMENTS)
def test_value_of_a_wrong_type_is_damage(
    tmp_path: Path, captioner: Captioner, statement: str
) -> None:
    library(tmp_path / "lib", 2)
    with Catalogue(tmp_path / "c.sqlite", create=True) as catalogue:
        scan_fully(catalogue, tmp_path / "lib", captioner)
        write_fully(catalogue)
        assert catalogue.is_intact()
        catalogue.execute(statement)
        assert not catalogue.is_intact()
    for error in (TypeError("fsdecode"), AttributeError("hex"), KeyError("x"), OverflowError()):
        with (
            pytest.raises(CatalogueError, match="damaged: move it away"),
            Catalogue(tmp_path / "c.sqlite"),
        ):
            raise error


def test_error_with_an_intact_catalogue_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(TypeError), Catalogue(tmp_path / "c.sqlite", create=True):
        raise TypeError
    with pytest.raises(KeyboardInterrupt), Catalogue(tmp_path / "c.sqlite"):
        raise KeyboardInterrupt


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
@pytest.mark.parametrize("suffix", ["-journal", "-wal", "-shm"])
def test_pipe_in_place_of_a_file_of_sqlite_is_refused_at_once(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "c.sqlite"
    Catalogue(path, create=True).close()
    os.mkfifo(f"{path}{suffix}")
    with pytest.raises(CatalogueError, match=f"sqlite{suffix}: not a file: move it away"):
        Catalogue(path)


@pytest.mark.parametrize(
    "statements",
    [
        "DROP TABLE edits",
        "DROP INDEX files_of_picture",
        "DROP TABLE search; CREATE TABLE search (caption)",
        "ALTER TABLE pictures RENAME COLUMN taken TO shot",
        "ALTER TABLE captions ADD COLUMN stars INTEGER",
        "CREATE TRIGGER thief AFTER INSERT ON edits BEGIN DELETE FROM captions; END",
        """
        DROP TABLE folders;
        CREATE VIEW folders AS WITH RECURSIVE endless (id) AS
            (SELECT 1 UNION ALL SELECT id + 1 FROM endless)
        SELECT id, x'2f' AS path, 0 AS scan FROM endless
        """,
    ],
)
def test_other_tables_than_those_of_its_format_are_damage(tmp_path: Path, statements: str) -> None:
    path = tmp_path / "photos.sqlite"
    Catalogue(path, create=True).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(statements)
    with pytest.raises(CatalogueError, match=r"damaged \(wrong tables\): move it away"):
        Catalogue(path)


def test_tables_and_indices_of_the_user_are_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "photos.sqlite"
    with Catalogue(path, create=True) as catalogue:
        catalogue.execute("CREATE TABLE albums (name)")
        catalogue.execute("CREATE INDEX by_date ON pictures (taken)")
        catalogue.execute("CREATE VIEW mine AS SELECT * FROM edits")
        catalogue.execute("ANALYZE")
    with Catalogue(path) as catalogue:
        assert catalogue.is_intact()


def test_damaged_name_in_the_schema_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "photos.sqlite"
    Catalogue(path, create=True).close()
    # the name of the index and its statement are not UTF-8: SQLite quotes them in its message
    path.write_bytes(path.read_bytes().replace(b"writes_open", b"writes_\xe4\xff\xfe("))
    with pytest.raises(CatalogueError, match="damaged: move it away"):
        Catalogue(path)


def test_full_text_index_that_cannot_be_opened_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "photos.sqlite"
    with Catalogue(path, create=True) as catalogue:
        catalogue.execute("UPDATE search_config SET v = 99 WHERE k = 'version'")
    with pytest.raises(CatalogueError, match=r"damaged .*fts5.*: move it away"), Catalogue(path):
        pass


def test_a_catalogue_that_cannot_be_written_can_be_searched() -> None:
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    path = folder / "photos.sqlite"
    try:
        Catalogue(path, create=True).close()
        path.chmod(0o444)
        folder.chmod(0o555)
        # root may write anything, so the process gives its rights up once all code is loaded
        script = f"""
import os
from pathlib import Path
from showtell.errors import CatalogueError
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.search import search_photos
if os.getuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
with Catalogue(Path({os.fspath(path)!r})) as catalogue:
    print(len(list(search_photos(catalogue, "otter"))), catalogue.is_intact())
    try:
        with catalogue.transaction():
            catalogue.execute("DELETE FROM edits")
    except CatalogueError as error:
        print(error)
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)
    assert done.stdout.splitlines() == [
        "0 True",
        f"{path}: cannot be written: no permission, or the disk is read-only",
    ], done.stderr
