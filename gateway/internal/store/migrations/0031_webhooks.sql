-- +goose Up
-- Where tenants are told what has happened. of_jobs: the URLs of jobs lead to this scheme and host, and url holds no more than these. events are
-- patterns separated by spaces. signing is a JSON array of secrets, the current one first. disabled says why nothing is sent, and is empty otherwise.
-- failures counts the failed deliveries in a row, the first of them at failing_ms; nothing is sent before pause_ms.
CREATE TABLE webhook_endpoints (
    endpoint_id TEXT PRIMARY KEY,
    tenant      TEXT NOT NULL REFERENCES tenants (tenant),
    url         TEXT NOT NULL,
    of_jobs     BOOLEAN NOT NULL,
    events      TEXT NOT NULL,
    description TEXT NOT NULL,
    signing     TEXT NOT NULL,
    disabled    TEXT NOT NULL,
    failures    BIGINT NOT NULL,
    failing_ms  BIGINT NOT NULL,
    pause_ms    BIGINT NOT NULL,
    created_ms  BIGINT NOT NULL
);
CREATE INDEX webhook_endpoints_tenant ON webhook_endpoints (tenant, endpoint_id);
CREATE UNIQUE INDEX webhook_endpoints_of_jobs ON webhook_endpoints (tenant, url) WHERE of_jobs;

-- One message to one endpoint. A pending one is due at next_ms; whoever delivers it moves next_ms to the end of its lease. log is a JSON array of
-- attempts, the last one last.
CREATE TABLE webhook_deliveries (
    delivery_id TEXT PRIMARY KEY,
    endpoint_id TEXT NOT NULL REFERENCES webhook_endpoints (endpoint_id) ON DELETE CASCADE,
    message_id  TEXT NOT NULL,
    event       TEXT NOT NULL,
    subject     TEXT NOT NULL,
    url         TEXT NOT NULL,
    body        TEXT NOT NULL,
    state       TEXT NOT NULL,
    attempts    BIGINT NOT NULL,
    next_ms     BIGINT NOT NULL,
    created_ms  BIGINT NOT NULL,
    ended_ms    BIGINT NOT NULL,
    log         TEXT NOT NULL
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, next_ms) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_listed ON webhook_deliveries (endpoint_id, delivery_id);
CREATE INDEX webhook_deliveries_old ON webhook_deliveries (created_ms);

-- webhook is a JSON object with the job's own URL, or empty. run_id and batch_id name the run or the batch that made the job, or are empty.
ALTER TABLE jobs ADD COLUMN webhook TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN run_id TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN batch_id TEXT NOT NULL DEFAULT '';
