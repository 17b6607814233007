-- +goose Up
-- Plain SQL that both SQLite and PostgreSQL take. Times are Unix milliseconds, 0 = not yet.
CREATE TABLE jobs (
    job_id        TEXT PRIMARY KEY,
    state         TEXT NOT NULL,
    audio_sha256  TEXT NOT NULL,
    audio_key     TEXT NOT NULL,
    audio_bytes   BIGINT NOT NULL,
    audio_name    TEXT NOT NULL,
    plan_mode     TEXT NOT NULL,
    spans         TEXT NOT NULL,
    decode        TEXT NOT NULL,
    trace_id      TEXT NOT NULL,
    questions     BIGINT NOT NULL,
    windows       BIGINT NOT NULL,
    duration_s    DOUBLE PRECISION NOT NULL,
    answered      BIGINT NOT NULL,
    failed        BIGINT NOT NULL,
    cancelled     BIGINT NOT NULL,
    created_ms    BIGINT NOT NULL,
    deadline_ms   BIGINT NOT NULL,
    planned_ms    BIGINT NOT NULL,
    first_ms      BIGINT NOT NULL,
    cancel_ms     BIGINT NOT NULL,
    ended_ms      BIGINT NOT NULL
);
CREATE INDEX jobs_open ON jobs (ended_ms);
CREATE INDEX jobs_state ON jobs (state, job_id);

CREATE TABLE questions (
    job_id TEXT NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
    idx    BIGINT NOT NULL,
    text   TEXT NOT NULL,
    PRIMARY KEY (job_id, idx)
);

CREATE TABLE plan_windows (
    job_id  TEXT NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
    idx     BIGINT NOT NULL,
    hash    TEXT NOT NULL,
    start_s DOUBLE PRECISION NOT NULL,
    end_s   DOUBLE PRECISION NOT NULL,
    heard_s DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (job_id, idx)
);

-- seq numbers the outcomes of one job from 1 in the order in which they were recorded: the page cursor.
CREATE TABLE outcomes (
    outcome_id   TEXT PRIMARY KEY,
    job_id       TEXT NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
    window_idx   BIGINT NOT NULL,
    question_idx BIGINT NOT NULL,
    seq          BIGINT NOT NULL,
    state        TEXT NOT NULL,
    error_code   TEXT NOT NULL,
    cache        TEXT NOT NULL,
    record       BYTEA NOT NULL,
    recorded_ms  BIGINT NOT NULL,
    UNIQUE (job_id, seq)
);

CREATE TABLE outbox (
    outbox_id  TEXT PRIMARY KEY,
    topic      TEXT NOT NULL,
    record_key BYTEA NOT NULL,
    headers    TEXT NOT NULL,
    value      BYTEA NOT NULL,
    created_ms BIGINT NOT NULL
);

-- A claim with an empty job_id is a request still in flight; it lapses at expires_ms.
CREATE TABLE idempotency (
    idem_key    TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    job_id      TEXT NOT NULL,
    owner       TEXT NOT NULL,
    expires_ms  BIGINT NOT NULL
);
CREATE INDEX idempotency_expiry ON idempotency (expires_ms);
