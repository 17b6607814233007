-- +goose Up
-- A job's options as one JSON object, so that a new option needs no column.
ALTER TABLE jobs ADD COLUMN options TEXT NOT NULL DEFAULT '{}';
UPDATE jobs SET options = '{"response_schema":"' || response_schema || '"}' WHERE response_schema <> '';
ALTER TABLE jobs DROP COLUMN response_schema;
