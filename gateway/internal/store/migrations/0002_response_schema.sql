-- +goose Up
-- The form of a job's answers; empty = free text.
ALTER TABLE jobs ADD COLUMN response_schema TEXT NOT NULL DEFAULT '';
