-- +goose Up
-- Jobs are deleted with the idempotency keys that lead to them.
CREATE INDEX idempotency_job ON idempotency (job_id) WHERE job_id <> '';
