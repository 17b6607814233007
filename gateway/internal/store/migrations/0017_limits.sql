-- +goose Up
-- What a tenant has used on a day (UTC, days since 1970), against its limits.
CREATE TABLE tenant_usage (
    tenant       TEXT NOT NULL,
    day          BIGINT NOT NULL,
    audio_s      DOUBLE PRECISION NOT NULL,
    upload_bytes BIGINT NOT NULL,
    PRIMARY KEY (tenant, day)
);

-- Who did what, when and from where. audit_id rises with time.
CREATE TABLE audit (
    audit_id TEXT PRIMARY KEY,
    at_ms    BIGINT NOT NULL,
    tenant   TEXT NOT NULL,
    who      TEXT NOT NULL,
    action   TEXT NOT NULL,
    target   TEXT NOT NULL,
    source   TEXT NOT NULL,
    trace_id TEXT NOT NULL
);
CREATE INDEX audit_at ON audit (at_ms);
CREATE INDEX audit_tenant ON audit (tenant, audit_id);
CREATE INDEX audit_target ON audit (target);

-- labels and metadata are JSON objects of texts. The cost is the sum over the job's outcomes.
ALTER TABLE jobs ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';
ALTER TABLE jobs ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';
ALTER TABLE jobs ADD COLUMN cost_audio_s DOUBLE PRECISION NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN cost_encoder_s DOUBLE PRECISION NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN cost_prompt_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN cost_output_tokens BIGINT NOT NULL DEFAULT 0;

CREATE TABLE job_labels (
    job_id TEXT NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
    name   TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (job_id, name)
);

-- Whose windows they are, to tell a hit that another tenant has paid for as a miss.
CREATE INDEX plan_windows_hash ON plan_windows (hash);
