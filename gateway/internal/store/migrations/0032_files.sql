-- +goose Up
-- Files of OpenAI's API, whose bytes lie in the object store. bytes is -1 while a file comes in.
CREATE TABLE files (
    file_id    TEXT PRIMARY KEY,
    tenant     TEXT NOT NULL,
    purpose    TEXT NOT NULL,
    filename   TEXT NOT NULL,
    bytes      BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX files_created ON files (tenant, created_ms, file_id);
CREATE INDEX files_expire ON files (expires_ms);
