-- +goose Up
-- What one gateway at a time may do, until its lease lapses.
CREATE TABLE leases (
    name     TEXT PRIMARY KEY,
    owner    TEXT NOT NULL,
    until_ms BIGINT NOT NULL
);
CREATE INDEX leases_until ON leases (until_ms);

-- The sums over all ended jobs. off_by is how many outcomes an ended job has too many, or too few if below 0; audited_ms is when its stored
-- outcomes were last counted.
CREATE TABLE ledger (
    id         BIGINT PRIMARY KEY,
    ended_jobs BIGINT NOT NULL,
    expected   BIGINT NOT NULL,
    recorded   BIGINT NOT NULL
);
ALTER TABLE jobs ADD COLUMN audited_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN off_by BIGINT NOT NULL DEFAULT 0;
UPDATE jobs SET off_by = (SELECT COUNT(*) FROM outcomes WHERE outcomes.job_id = jobs.job_id) - windows * questions WHERE ended_ms > 0;
INSERT INTO ledger (id, ended_jobs, expected, recorded)
    SELECT 1, COUNT(*), COALESCE(SUM(windows * questions), 0), COALESCE(SUM(windows * questions + off_by), 0) FROM jobs WHERE ended_ms > 0;
CREATE INDEX jobs_audit ON jobs (audited_ms) WHERE ended_ms > 0;
CREATE INDEX jobs_unbalanced ON jobs (job_id) WHERE off_by <> 0;

-- Who has jobs that wait in a lane, in the order of their turns. deficit is how many seconds of audio the tenant may have admitted in its turn.
CREATE TABLE turns (
    lane    TEXT NOT NULL,
    tenant  TEXT NOT NULL,
    turn    BIGINT NOT NULL,
    deficit DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (lane, tenant)
);
INSERT INTO turns (lane, tenant, turn, deficit) SELECT DISTINCT lane, submitter, 0, 0.0 FROM jobs WHERE ended_ms = 0 AND admitted_ms = 0;

-- expected_s is how many seconds of audio the job counts for while it waits.
ALTER TABLE jobs ADD COLUMN expected_s DOUBLE PRECISION NOT NULL DEFAULT 25;
UPDATE jobs SET expected_s = 25.0 * expected_windows WHERE ended_ms = 0 AND admitted_ms = 0;

DROP INDEX jobs_admitted;
CREATE INDEX jobs_admitted ON jobs (lane, submitter) WHERE ended_ms = 0 AND admitted_ms > 0 AND NOT adopted;
