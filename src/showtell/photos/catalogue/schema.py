"""The catalogue's tables, as migrations from one format version to the next.

A released migration never changes: another one follows it. `PRAGMA user_version` counts the
migrations that a catalogue has had.

A *picture* is image data as it is shown, identified by a hash of the data, its orientation and its
colour profile; a *file* is one copy of it on the disk.
Captions, keywords, the user's edits and features belong to the picture, so photos that are moved,
copied or retagged keep them. `pictures.caption` and `keywords` repeat the current ones (the user's
edit, or else the latest by a model) for searches. Paths and names are bytes, as in the file system.
"""

from __future__ import annotations

APPLICATION_ID = 0x73746C6C  # "stll" in the file's header: this is a catalogue of showtell

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE folders (
            id INTEGER PRIMARY KEY,
            path BLOB NOT NULL UNIQUE,
            scan INTEGER NOT NULL DEFAULT 0  -- the last scan that listed this folder
        )""",
        """
        CREATE TABLE pictures (
            id INTEGER PRIMARY KEY,
            hash BLOB NOT NULL UNIQUE,
            width INTEGER,
            height INTEGER,
            taken TEXT,  -- by the camera's clock: 2024-05-31T18:30:00
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
            pending INTEGER NOT NULL DEFAULT 1,  -- must be read
            claim INTEGER,  -- the scan that is reading it
            gone TEXT,  -- when a scan found it missing
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
        # not in pictures: a vector is larger than all other columns together
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
            token TEXT NOT NULL,  -- part of the names of the run's temporary files
            work BLOB,  -- not used: exiftool's folder in older versions
            began TEXT NOT NULL,
            ended TEXT,
            undone TEXT
        )""",
        """
        CREATE TABLE writes (
            id INTEGER PRIMARY KEY,
            run_id INTEGER NOT NULL REFERENCES runs (id),
            file_id INTEGER NOT NULL REFERENCES files (id),
            path BLOB NOT NULL,  -- the written file: the photo or its sidecar
            state TEXT NOT NULL
                CHECK (state IN ('begun', 'ready', 'done', 'undoing', 'undone', 'kept')),
            words TEXT NOT NULL,
            before_hash BLOB,  -- NULL: there was no such file
            after_hash BLOB,
            before BLOB  -- the old sidecar, or a patch from the new photo to the old one
        )""",
        "CREATE INDEX writes_of_run ON writes (run_id, state)",
        "CREATE INDEX writes_of_file ON writes (file_id)",
        "CREATE INDEX writes_open ON writes (state) WHERE state IN ('begun', 'ready', 'undoing')",
    ),
    (
        "ALTER TABLE files RENAME COLUMN gone TO missing_since",
        "ALTER TABLE captions RENAME COLUMN made TO created",
        "ALTER TABLE edits RENAME COLUMN made TO created",
        "ALTER TABLE runs RENAME COLUMN began TO started",
        "ALTER TABLE writes RENAME COLUMN words TO caption",
    ),
    (
        # see FileStatus; NULL: not read since these columns exist
        "ALTER TABLE files ADD COLUMN ctime_ns INTEGER",
        "ALTER TABLE files ADD COLUMN access TEXT",
    ),
    (
        # JSON: [[word, probability], ...]; NULL: the caption is older than keywords
        "ALTER TABLE captions ADD COLUMN keywords TEXT",
        """
        CREATE TABLE keyword_edits (
            picture_id INTEGER PRIMARY KEY REFERENCES pictures (id) ON DELETE CASCADE,
            keywords TEXT NOT NULL,  -- as in captions
            created TEXT NOT NULL
        )""",
        """
        CREATE TABLE keywords (
            id INTEGER PRIMARY KEY,  -- the rowid in search_keywords
            picture_id INTEGER NOT NULL REFERENCES pictures (id) ON DELETE CASCADE,
            word TEXT NOT NULL,
            probability REAL NOT NULL
        )""",
        "CREATE INDEX keywords_of_picture ON keywords (picture_id)",
        """
        CREATE VIRTUAL TABLE search_keywords USING fts5 (
            word, tokenize = 'porter unicode61 remove_diacritics 2'
        )""",
        # JSON: {words: [word, ...], removed: [word, ...]}, see WrittenKeywords; NULL: as before
        "ALTER TABLE writes ADD COLUMN keywords TEXT",
    ),
)
