-- +goose Up
-- When the work on a job must have begun; 0 = no bound.
ALTER TABLE jobs ADD COLUMN start_by_ms BIGINT NOT NULL DEFAULT 0;
CREATE INDEX jobs_start_by ON jobs (start_by_ms) WHERE ended_ms = 0 AND planned_ms = 0 AND start_by_ms > 0;
