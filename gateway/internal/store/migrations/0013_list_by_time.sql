-- +goose Up
-- Jobs are listed by time: the ids of fed jobs do not follow it.
CREATE INDEX jobs_created ON jobs (created_ms, job_id);
DROP INDEX jobs_state;
CREATE INDEX jobs_state ON jobs (state, created_ms, job_id);
