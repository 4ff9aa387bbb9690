"""The catalogue's tables, as steps from one version to the next.

A step that was released never changes: a new one follows it. `PRAGMA user_version` counts the
steps that a catalogue has taken.

A *picture* is image data, known by its hash; a *file* is a place where it lies. Captions, a
person's words and features belong to the picture, so that moved, copied and re-tagged photos keep
them. `pictures.caption` repeats the words that hold now (a person's, else the latest model's), so
that a search reads one row. Paths and names are the bytes that the file system holds.
"""

from __future__ import annotations

APPLICATION_ID = 0x73746C6C  # "stll", in the file's header: whose database it is

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE folders (
            id INTEGER PRIMARY KEY,
            path BLOB NOT NULL UNIQUE,
            scan INTEGER NOT NULL DEFAULT 0  -- the last scan that listed it
        )""",
        """
        CREATE TABLE pictures (
            id INTEGER PRIMARY KEY,
            hash BLOB NOT NULL UNIQUE,
            width INTEGER,
            height INTEGER,
            taken TEXT,  -- as the camera's clock had it: 2024-05-31T18:30:00
            latitude REAL,
            longitude REAL,
            caption TEXT,
            confidence REAL,
            source TEXT CHECK (source IN ('model', 'person')),
            model TEXT
        )""",
        """
        CREATE TABLE files (
            id INTEGER PRIMARY KEY,
            folder_id INTEGER NOT NULL REFERENCES folders (id),
            name BLOB NOT NULL,
            picture_id INTEGER REFERENCES pictures (id),
            size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            pending INTEGER NOT NULL DEFAULT 1,  -- to be read
            claim INTEGER,  -- the scan that reads it now
            gone TEXT,  -- when it was found missing
            error TEXT,
            UNIQUE (folder_id, name)
        )""",
        "CREATE INDEX files_of_picture ON files (picture_id)",
        "CREATE INDEX files_pending ON files (folder_id) WHERE pending",
        """
        CREATE TABLE captions (
            picture_id INTEGER NOT NULL REFERENCES pictures (id) ON DELETE CASCADE,
            model TEXT NOT NULL,
            text TEXT NOT NULL,
            confidence REAL,
            log_probability REAL,
            made TEXT NOT NULL,
            PRIMARY KEY (picture_id, model)
        )""",
        """
        CREATE TABLE edits (
            picture_id INTEGER PRIMARY KEY REFERENCES pictures (id) ON DELETE CASCADE,
            text TEXT NOT NULL,
            made TEXT NOT NULL
        )""",
        # apart from pictures: a vector is larger than all else together
        """
        CREATE TABLE features (
            picture_id INTEGER PRIMARY KEY REFERENCES pictures (id) ON DELETE CASCADE,
            encoder TEXT NOT NULL,
            vector BLOB NOT NULL
        )""",
        """
        CREATE VIRTUAL TABLE search USING fts5 (
            caption, tokenize = 'porter unicode61 remove_diacritics 2'
        )""",
        """
        CREATE TABLE runs (
            id INTEGER PRIMARY KEY,
            token TEXT NOT NULL,  -- names this run's temporary files
            work BLOB,  -- folder for exiftool, while the run lasts
            began TEXT NOT NULL,
            ended TEXT,
            undone TEXT
        )""",
        """
        CREATE TABLE writes (
            id INTEGER PRIMARY KEY,
            run_id INTEGER NOT NULL REFERENCES runs (id),
            file_id INTEGER NOT NULL REFERENCES files (id),
            path BLOB NOT NULL,  -- what is written: the photo or its sidecar
            state TEXT NOT NULL
                CHECK (state IN ('begun', 'ready', 'done', 'undoing', 'undone', 'kept')),
            words TEXT NOT NULL,
            before_hash BLOB,  -- NULL: there was no such file
            after_hash BLOB,
            before BLOB  -- what makes the old bytes of the new ones
        )""",
        "CREATE INDEX writes_of_run ON writes (run_id, state)",
        "CREATE INDEX writes_of_file ON writes (file_id)",
        "CREATE INDEX writes_open ON writes (state) WHERE state IN ('begun', 'ready', 'undoing')",
    ),
)
