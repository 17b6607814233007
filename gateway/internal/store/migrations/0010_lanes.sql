-- +goose Up
-- lane chooses the job's topics. submitter is who takes turns with others while jobs wait. admitted_ms is when the job's record went to the
-- outbox; 0 = the job waits here. expected_windows is how many windows the job counts for until it is planned.
ALTER TABLE jobs ADD COLUMN lane TEXT NOT NULL DEFAULT 'interactive';
ALTER TABLE jobs ADD COLUMN submitter TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN admitted_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN expected_windows BIGINT NOT NULL DEFAULT 1;
UPDATE jobs SET admitted_ms = created_ms;
CREATE INDEX jobs_waiting ON jobs (lane, submitter, job_id) WHERE ended_ms = 0 AND admitted_ms = 0;
CREATE INDEX jobs_admitted ON jobs (lane, ended_ms) WHERE ended_ms = 0 AND admitted_ms > 0 AND NOT adopted;
INSERT INTO counters (name, n) VALUES ('open_jobs.bulk', 0);
