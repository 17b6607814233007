-- +goose Up
-- A batch is a file of requests, each of which becomes one bulk job. owner leads the batch until lease_ms. times are those of its states, as JSON.
CREATE TABLE batches (
    batch_id   TEXT PRIMARY KEY,
    tenant     TEXT NOT NULL,
    state      TEXT NOT NULL,
    spec       TEXT NOT NULL,
    faults     TEXT NOT NULL,
    times      TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    ended_ms   BIGINT NOT NULL,
    total      BIGINT NOT NULL,
    pending    BIGINT NOT NULL,
    running    BIGINT NOT NULL,
    completed  BIGINT NOT NULL,
    failed     BIGINT NOT NULL,
    output     TEXT NOT NULL,
    errors     TEXT NOT NULL,
    owner      TEXT NOT NULL,
    lease_ms   BIGINT NOT NULL
);
CREATE INDEX batches_open ON batches (ended_ms, created_ms);
CREATE INDEX batches_created ON batches (tenant, created_ms, batch_id);

CREATE TABLE batch_items (
    batch_id   TEXT NOT NULL REFERENCES batches (batch_id) ON DELETE CASCADE,
    n          BIGINT NOT NULL,
    custom_id  TEXT NOT NULL,
    from_byte  BIGINT NOT NULL,
    bytes      BIGINT NOT NULL,
    state      TEXT NOT NULL,
    job_id     TEXT NOT NULL,
    line       TEXT NOT NULL,
    PRIMARY KEY (batch_id, n)
);
CREATE INDEX batch_items_state ON batch_items (batch_id, state, n);
