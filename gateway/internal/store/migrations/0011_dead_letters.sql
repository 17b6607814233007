-- +goose Up
-- Jobs whose owner allows that an answer replaces an outcome that was given up.
CREATE TABLE supersede_allowed (
    job_id TEXT PRIMARY KEY REFERENCES jobs (job_id) ON DELETE CASCADE,
    who    TEXT NOT NULL,
    at_ms  BIGINT NOT NULL
);

-- Outcomes that were replaced. seq is the number that the outcome had; superseded_by is the number of the outcome that stands in its place,
-- 0 where a new plan of the whole job replaced it.
CREATE TABLE superseded (
    outcome_id    TEXT NOT NULL,
    seq           BIGINT NOT NULL,
    job_id        TEXT NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
    superseded_by BIGINT NOT NULL,
    record        BYTEA NOT NULL,
    recorded_ms   BIGINT NOT NULL,
    superseded_ms BIGINT NOT NULL,
    PRIMARY KEY (outcome_id, seq)
);
CREATE INDEX superseded_job ON superseded (job_id, seq);

-- What was done with dead letters, one row for each, by partition and offset of the letter.
CREATE TABLE dead_actions (
    letter  TEXT PRIMARY KEY,
    action  TEXT NOT NULL,
    job_id  TEXT NOT NULL,
    reason  TEXT NOT NULL,
    who     TEXT NOT NULL,
    at_ms   BIGINT NOT NULL
);
CREATE INDEX dead_actions_at ON dead_actions (at_ms);
