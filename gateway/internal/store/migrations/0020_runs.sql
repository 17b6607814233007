-- +goose Up
-- A run is a set of items, each of which becomes one bulk job. The counters are those of its items by state, kept with every change, because
-- counting a million rows takes too long for a status. owner leads the run until lease_ms.
CREATE TABLE runs (
    run_id     TEXT PRIMARY KEY,
    tenant     TEXT NOT NULL,
    name       TEXT NOT NULL,
    state      TEXT NOT NULL,
    reason     TEXT NOT NULL,
    spec       TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    sealed_ms  BIGINT NOT NULL,
    ended_ms   BIGINT NOT NULL,
    items      BIGINT NOT NULL,
    pending    BIGINT NOT NULL,
    running    BIGINT NOT NULL,
    succeeded  BIGINT NOT NULL,
    partial    BIGINT NOT NULL,
    failed     BIGINT NOT NULL,
    cancelled  BIGINT NOT NULL,
    skipped    BIGINT NOT NULL,
    audio_s    DOUBLE PRECISION NOT NULL,
    windows    BIGINT NOT NULL,
    encoded    BIGINT NOT NULL,
    answers    BIGINT NOT NULL,
    owner      TEXT NOT NULL,
    lease_ms   BIGINT NOT NULL
);
CREATE INDEX runs_open ON runs (ended_ms, created_ms);
CREATE INDEX runs_named ON runs (tenant, name, created_ms);
CREATE INDEX runs_created ON runs (tenant, created_ms, run_id);

CREATE TABLE run_items (
    run_id     TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    n          BIGINT NOT NULL,
    item_id    TEXT NOT NULL,
    uri        TEXT NOT NULL,
    fields     TEXT NOT NULL,
    state      TEXT NOT NULL,
    code       TEXT NOT NULL,
    message    TEXT NOT NULL,
    attempt    BIGINT NOT NULL,
    job_id     TEXT NOT NULL,
    sha256     TEXT NOT NULL,
    bytes      BIGINT NOT NULL,
    duration_s DOUBLE PRECISION NOT NULL,
    windows    BIGINT NOT NULL,
    ended_ms   BIGINT NOT NULL,
    PRIMARY KEY (run_id, n)
);
CREATE UNIQUE INDEX run_items_id ON run_items (run_id, item_id);
CREATE INDEX run_items_state ON run_items (run_id, state, n);
CREATE INDEX run_items_uri ON run_items (run_id, uri);

CREATE TABLE run_failures (
    run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    code   TEXT NOT NULL,
    items  BIGINT NOT NULL,
    PRIMARY KEY (run_id, code)
);
