-- +goose Up
-- Ended jobs are deleted tenant by tenant. The index serves the questions about a tenant's open jobs too.
CREATE INDEX jobs_tenant_ended ON jobs (tenant, ended_ms);
DROP INDEX jobs_tenant_open;
