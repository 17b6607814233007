-- +goose Up
-- The digest of the model that must answer the job; empty = whichever is deployed.
ALTER TABLE jobs ADD COLUMN model_digest TEXT NOT NULL DEFAULT '';
