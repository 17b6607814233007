package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// ledgerSum is what a transaction adds to the sums over all ended jobs.
type ledgerSum struct{ ended, expected, recorded int }

// count adds a job that ends, with the outcomes stored of it, or takes away one that is ended no more.
func (l *ledgerSum) count(sign int, j Job, stored int) {
	l.ended += sign
	l.expected += sign * j.Expected()
	l.recorded += sign * stored
}

func (l ledgerSum) add(ctx context.Context, tx *tx) error {
	if l == (ledgerSum{}) {
		return nil
	}
	_, err := tx.exec(ctx, `UPDATE ledger SET ended_jobs = ended_jobs + ?, expected = expected + ?, recorded = recorded + ? WHERE id = 1`, l.ended, l.expected, l.recorded)
	return err
}

// Ledger returns the sums over the ended jobs, as the last audit of each job has found its rows. Audit finds rows that were lost later.
func (s *SQL) Ledger(ctx context.Context) (Ledger, error) {
	var l Ledger
	err := s.rowRead(ctx, `SELECT ended_jobs, expected, recorded, (SELECT COUNT(*) FROM jobs WHERE ended_ms = 0), (SELECT COUNT(*) FROM jobs WHERE off_by <> 0)
		FROM ledger WHERE id = 1`).Scan(&l.EndedJobs, &l.Expected, &l.Recorded, &l.OpenJobs, &l.Unbalanced)
	if err != nil {
		return Ledger{}, fmt.Errorf("reading ledger: %w", err)
	}
	return l, nil
}

// audited is an ended job whose stored outcomes are counted again.
type audited struct {
	id                 string
	found, off, before int
}

// Audit counts the stored outcomes of up to limit ended jobs that were not audited since before, those first that wait longest, and corrects the
// ledger by what it finds. It returns how many jobs it has audited. Several gateways audit different jobs.
func (s *SQL) Audit(ctx context.Context, before time.Time, limit int) (n int, err error) {
	err = s.inTx(ctx, func(tx *tx) error {
		var jobs []audited
		err := tx.each(ctx, func(rows *sql.Rows) error {
			var j audited
			var expected int
			err := rows.Scan(&j.id, &expected, &j.before, &j.found)
			j.off = j.found - expected
			jobs = append(jobs, j)
			return err
		}, `SELECT job_id, windows * questions, off_by, (SELECT COUNT(*) FROM outcomes WHERE outcomes.job_id = jobs.job_id)
			FROM jobs WHERE ended_ms > 0 AND audited_ms < ? ORDER BY audited_ms LIMIT ?`+tx.dialect.claim, millis(before), limit)
		if err != nil {
			return err
		}
		n = len(jobs)
		return s.noteAudit(ctx, tx, jobs)
	})
	if err != nil {
		return 0, fmt.Errorf("auditing the ledger: %w", err)
	}
	return n, nil
}

func (s *SQL) noteAudit(ctx context.Context, tx *tx, jobs []audited) error {
	if len(jobs) == 0 {
		return nil
	}
	var sum ledgerSum
	ids := make([]string, len(jobs))
	for i, j := range jobs {
		ids[i] = j.id
		if j.off == j.before {
			continue
		}
		sum.recorded += j.off - j.before
		if _, err := tx.exec(ctx, `UPDATE jobs SET off_by = ? WHERE job_id = ?`, j.off, j.id); err != nil {
			return err
		}
	}
	in, args := tx.dialect.oneOf("job_id", ids)
	if _, err := tx.exec(ctx, `UPDATE jobs SET audited_ms = ? WHERE `+in, append([]any{millis(s.now())}, args...)...); err != nil {
		return err
	}
	return sum.add(ctx, tx)
}
