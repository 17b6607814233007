-- +goose Up
-- The highest number that an outcome of the job has been given. Numbers are not given again after an outcome was dropped.
ALTER TABLE jobs ADD COLUMN last_seq BIGINT NOT NULL DEFAULT 0;
UPDATE jobs SET last_seq = (SELECT COALESCE(MAX(seq), 0) FROM outcomes WHERE outcomes.job_id = jobs.job_id);
