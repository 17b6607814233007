-- +goose Up
-- What is known of a track before a run spends anything on it.
CREATE INDEX jobs_sha256 ON jobs (audio_sha256, created_ms);

-- What a run has spent, as its jobs tell.
ALTER TABLE runs ADD COLUMN cost_audio_s DOUBLE PRECISION NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN cost_encoder_s DOUBLE PRECISION NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN cost_prompt_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN cost_output_tokens BIGINT NOT NULL DEFAULT 0;

-- Answers that were known and not decoded.
ALTER TABLE runs ADD COLUMN answers_known BIGINT NOT NULL DEFAULT 0;

-- last_seq numbers the failures of a run in the order in which they were settled: an item that has failed, in whole or in part, has the number.
ALTER TABLE runs ADD COLUMN last_seq BIGINT NOT NULL DEFAULT 0;
ALTER TABLE run_items ADD COLUMN seq BIGINT NOT NULL DEFAULT 0;
CREATE INDEX run_items_seq ON run_items (run_id, seq) WHERE seq > 0;
