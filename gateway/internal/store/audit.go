package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// auditKept is how long the audit log remembers.
const auditKept = 400 * 24 * time.Hour

// Audit says who did what, when and from where.
type Audit struct {
	// ID rises with time; it is set by the store, as At is.
	ID     string
	At     time.Time
	Tenant string
	// Who is the id of the caller, such as key:4f963c6ef750.
	Who string
	// Action is the id of the operation, and Target the path of what it was done to.
	Action, Target string
	// Source is the client's address.
	Source  string
	TraceID string
}

// AuditQuery selects entries of the audit log, newest first.
type AuditQuery struct {
	// Tenant, Who and Action select; "" = any.
	Tenant, Who, Action string
	Since, Until        time.Time
	// After is the id of the last entry seen; "" = from the newest.
	After string
	Limit int
}

// NoteAudit writes an entry of the audit log.
func (s *SQL) NoteAudit(ctx context.Context, a Audit) error {
	err := s.inTx(ctx, func(tx *tx) error {
		if _, err := tx.exec(ctx, `DELETE FROM audit WHERE at_ms < ?`, millis(s.now().Add(-auditKept))); err != nil {
			return err
		}
		row, err := auditRow(a, s.now())
		if err != nil {
			return err
		}
		_, err = tx.insert(ctx, insertAudit, [][]any{row}, "")
		return err
	})
	if err != nil {
		return fmt.Errorf("writing audit log: %w", err)
	}
	return nil
}

const (
	auditColumns = `audit_id, at_ms, tenant, who, action, target, source, trace_id`
	insertAudit  = `audit (` + auditColumns + `)`
)

func auditRow(a Audit, now time.Time) ([]any, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	return []any{id.String(), millis(now), a.Tenant, a.Who, a.Action, a.Target, a.Source, a.TraceID}, nil
}

// AuditLog returns entries, newest first.
func (s *SQL) AuditLog(ctx context.Context, q AuditQuery) (entries []Audit, err error) {
	query, args := `SELECT `+auditColumns+` FROM audit WHERE 1 = 1`, []any{}
	for _, c := range []struct{ column, value string }{{"tenant", q.Tenant}, {"who", q.Who}, {"action", q.Action}} {
		if c.value != "" {
			query, args = query+` AND `+c.column+` = ?`, append(args, c.value)
		}
	}
	if !q.Since.IsZero() {
		query, args = query+` AND at_ms >= ?`, append(args, millis(q.Since))
	}
	if !q.Until.IsZero() {
		query, args = query+` AND at_ms < ?`, append(args, millis(q.Until))
	}
	if q.After != "" {
		query, args = query+` AND audit_id < ?`, append(args, q.After)
	}
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		var a Audit
		var at int64
		err := rows.Scan(&a.ID, &at, &a.Tenant, &a.Who, &a.Action, &a.Target, &a.Source, &a.TraceID)
		a.At = fromMillis(at)
		entries = append(entries, a)
		return err
	}, query+` ORDER BY audit_id DESC LIMIT ?`, append(args, q.Limit)...)
	if err != nil {
		return nil, fmt.Errorf("reading audit log: %w", err)
	}
	return entries, nil
}

// Deleted tells whether a tenant has deleted the thing of a path.
func (s *SQL) Deleted(ctx context.Context, tenant, action, target string) (bool, error) {
	var n int
	err := s.rowRead(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM audit WHERE tenant = ? AND action = ? AND target = ? LIMIT 1) AS found`,
		tenant, action, target).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("reading audit log: %w", err)
	}
	return n > 0, nil
}
