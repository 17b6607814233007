-- +goose Up
-- isolated: the stages keep what they make of the job for its tenant alone.
ALTER TABLE jobs ADD COLUMN isolated BOOLEAN NOT NULL DEFAULT FALSE;
