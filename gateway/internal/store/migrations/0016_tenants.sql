-- +goose Up
-- Tenants own everything that users make. limits is a JSON object; a limit that it does not name is not set.
CREATE TABLE tenants (
    tenant     TEXT PRIMARY KEY,
    isolated   BOOLEAN NOT NULL,
    limits     TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);
INSERT INTO tenants (tenant, isolated, limits, created_ms) VALUES ('default', FALSE, '{}', 0);

-- secret_sha256 is all that is kept of a key's secret. scopes are separated by spaces. A time of 0 has not come and is not set.
CREATE TABLE api_keys (
    key_id        TEXT PRIMARY KEY,
    tenant        TEXT NOT NULL REFERENCES tenants (tenant),
    name          TEXT NOT NULL,
    scopes        TEXT NOT NULL,
    secret_sha256 TEXT NOT NULL,
    created_ms    BIGINT NOT NULL,
    expires_ms    BIGINT NOT NULL,
    revoked_ms    BIGINT NOT NULL,
    replaced_by   TEXT NOT NULL
);
CREATE INDEX api_keys_tenant ON api_keys (tenant, key_id);

ALTER TABLE jobs ADD COLUMN tenant TEXT NOT NULL DEFAULT 'default';
CREATE INDEX jobs_tenant ON jobs (tenant, created_ms, job_id);
CREATE INDEX jobs_tenant_state ON jobs (tenant, state, created_ms, job_id);
CREATE INDEX jobs_tenant_open ON jobs (tenant) WHERE ended_ms = 0;
DROP INDEX jobs_created;
DROP INDEX jobs_state;

-- Each tenant has idempotency keys of its own.
CREATE TABLE tenant_idempotency (
    tenant      TEXT NOT NULL,
    idem_key    TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    job_id      TEXT NOT NULL,
    owner       TEXT NOT NULL,
    expires_ms  BIGINT NOT NULL,
    PRIMARY KEY (tenant, idem_key)
);
INSERT INTO tenant_idempotency (tenant, idem_key, fingerprint, job_id, owner, expires_ms)
    SELECT 'default', idem_key, fingerprint, job_id, owner, expires_ms FROM idempotency;
DROP TABLE idempotency;
ALTER TABLE tenant_idempotency RENAME TO idempotency;
CREATE INDEX idempotency_expiry ON idempotency (expires_ms);
CREATE INDEX idempotency_job ON idempotency (job_id) WHERE job_id <> '';

-- Whose audio it is: a tenant may name audio that it has sent itself, and no other.
CREATE TABLE tenant_audio (
    tenant   TEXT NOT NULL,
    sha256   TEXT NOT NULL,
    used_ms  BIGINT NOT NULL,
    PRIMARY KEY (tenant, sha256)
);
CREATE INDEX tenant_audio_used ON tenant_audio (used_ms);
INSERT INTO tenant_audio (tenant, sha256, used_ms) SELECT 'default', audio_sha256, MAX(created_ms) FROM jobs GROUP BY audio_sha256;
