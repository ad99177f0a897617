"""The tables, by version: each entry migrates a database from the version that is its index to the next."""

from __future__ import annotations

from typing import Final

VERSIONS: Final[list[str]] = [
    """
    CREATE TABLE files (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        deleted_at INTEGER,
        filename TEXT NOT NULL,
        purpose TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        sha256 TEXT NOT NULL
    );
    CREATE INDEX files_by_purpose ON files (purpose, seq) WHERE deleted_at IS NULL;
    CREATE INDEX files_by_expiry ON files (expires_at) WHERE deleted_at IS NULL AND expires_at IS NOT NULL;

    CREATE TABLE uploads (
        id TEXT PRIMARY KEY,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        filename TEXT NOT NULL,
        purpose TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        file_expires_after INTEGER,
        status TEXT NOT NULL,
        file_id TEXT REFERENCES files (id)
    ) WITHOUT ROWID;
    CREATE INDEX uploads_by_expiry ON uploads (expires_at) WHERE status = 'pending';
    CREATE TABLE upload_parts (
        id TEXT PRIMARY KEY,
        upload_id TEXT NOT NULL REFERENCES uploads (id),
        created_at INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX parts_by_upload ON upload_parts (upload_id);

    -- `body` is the request, which never changes; the other columns are the state of the job
    CREATE TABLE jobs (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        finished_at INTEGER,
        status TEXT NOT NULL,
        trainer TEXT NOT NULL,
        plain INTEGER NOT NULL,
        body TEXT NOT NULL,
        hyperparameters TEXT,
        error TEXT,
        fine_tuned_model TEXT,
        result_file TEXT,
        trained_tokens INTEGER,
        estimated_finish INTEGER,
        usage TEXT,
        -- whether a worker may be alive, how many were started, and how many were lost in a row without progress
        occupied INTEGER NOT NULL DEFAULT 0,
        attempt INTEGER NOT NULL DEFAULT 0,
        losses INTEGER NOT NULL DEFAULT 0,
        -- the last step that a worker reported, that step at the last start, and how far the journal has been read
        step INTEGER NOT NULL DEFAULT 0,
        step_at_start INTEGER NOT NULL DEFAULT 0,
        journal_read INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX jobs_by_status ON jobs (status, seq);
    CREATE INDEX jobs_occupied ON jobs (seq) WHERE occupied;
    CREATE INDEX jobs_plain ON jobs (seq) WHERE plain;
    CREATE TABLE job_metadata (
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        job INTEGER NOT NULL REFERENCES jobs (seq),
        PRIMARY KEY (key, value, job)
    ) WITHOUT ROWID;

    -- `mark` identifies a report, so that a report that a worker repeats after a restart is stored once
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        job INTEGER NOT NULL REFERENCES jobs (seq),
        created_at INTEGER NOT NULL,
        level TEXT NOT NULL,
        type TEXT NOT NULL,
        message TEXT NOT NULL,
        data TEXT,
        mark TEXT
    );
    CREATE INDEX events_by_job ON events (job, seq);
    CREATE UNIQUE INDEX events_once ON events (job, mark) WHERE mark IS NOT NULL;

    CREATE TABLE checkpoints (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        job INTEGER NOT NULL REFERENCES jobs (seq),
        created_at INTEGER NOT NULL,
        step INTEGER NOT NULL,
        model TEXT NOT NULL,
        metrics TEXT NOT NULL,
        UNIQUE (job, step)
    );

    CREATE TABLE models (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        deleted_at INTEGER,
        job_id TEXT NOT NULL REFERENCES jobs (id),
        trainer TEXT NOT NULL,
        folder TEXT NOT NULL
    );

    CREATE TABLE permissions (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        model TEXT NOT NULL,
        project_id TEXT NOT NULL,
        UNIQUE (model, project_id)
    );

    CREATE TABLE idempotency (
        key TEXT PRIMARY KEY,
        created_at INTEGER NOT NULL,
        fingerprint TEXT NOT NULL,
        reply TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX idempotency_by_age ON idempotency (created_at);

    CREATE TABLE webhook_endpoints (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        deleted_at INTEGER,
        name TEXT NOT NULL,
        url TEXT NOT NULL,
        event_types TEXT NOT NULL,
        secret TEXT NOT NULL,
        old_secret TEXT,
        old_secret_until INTEGER
    );
    -- one row for each event and endpoint, written in the transaction of the change that it reports
    CREATE TABLE deliveries (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        endpoint_id TEXT NOT NULL REFERENCES webhook_endpoints (id),
        event TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        status TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        next_at REAL NOT NULL,
        last_status INTEGER,
        last_error TEXT,
        delivered_at INTEGER
    );
    CREATE INDEX deliveries_due ON deliveries (next_at) WHERE status = 'pending';
    CREATE INDEX deliveries_by_endpoint ON deliveries (endpoint_id, seq);
    """,
    """
    -- whether the row, as it is now, is in its record file too; see `record_files`
    ALTER TABLE jobs ADD COLUMN recorded INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX jobs_unrecorded ON jobs (seq) WHERE NOT recorded;
    CREATE TRIGGER jobs_changed AFTER UPDATE OF status, attempt ON jobs
    BEGIN
        UPDATE jobs SET recorded = 0 WHERE seq = NEW.seq;
    END;
    ALTER TABLE files ADD COLUMN recorded INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX files_unrecorded ON files (seq) WHERE NOT recorded AND deleted_at IS NULL;
    """,
]
