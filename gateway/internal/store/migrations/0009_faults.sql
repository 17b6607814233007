-- +goose Up
-- What is wrong with the job's track, as JSON, and the codes of the damage in each window, separated by commas.
ALTER TABLE jobs ADD COLUMN faults TEXT NOT NULL DEFAULT '{}';
ALTER TABLE plan_windows ADD COLUMN warnings TEXT NOT NULL DEFAULT '';
