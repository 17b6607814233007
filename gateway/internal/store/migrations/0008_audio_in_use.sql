-- +goose Up
CREATE INDEX jobs_audio ON jobs (audio_key) WHERE ended_ms = 0;
