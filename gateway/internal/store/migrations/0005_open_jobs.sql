-- +goose Up
-- adopted: published by another producer than this store's outbox. The counter holds how many other jobs are open.
ALTER TABLE jobs ADD COLUMN adopted BOOLEAN NOT NULL DEFAULT FALSE;
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    n    BIGINT NOT NULL
);
INSERT INTO counters (name, n) SELECT 'open_jobs', COUNT(*) FROM jobs WHERE ended_ms = 0;
