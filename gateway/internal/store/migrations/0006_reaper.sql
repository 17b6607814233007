-- +goose Up
-- active_ms is when the job last came forward: it was taken in, planned, got an outcome or was published again. republished counts the
-- publications since then. given_up_ms is when the gateway last asked for the job's end.
ALTER TABLE jobs ADD COLUMN active_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN republished BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN given_up_ms BIGINT NOT NULL DEFAULT 0;
UPDATE jobs SET active_ms = created_ms;
CREATE INDEX jobs_due ON jobs (deadline_ms) WHERE ended_ms = 0 AND deadline_ms > 0;
CREATE INDEX jobs_cancelling ON jobs (cancel_ms) WHERE ended_ms = 0 AND cancel_ms > 0;
ALTER TABLE outbox ADD COLUMN job_id TEXT NOT NULL DEFAULT '';
CREATE INDEX outbox_job ON outbox (job_id);
