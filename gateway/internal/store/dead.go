package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// What was done with a dead letter.
const (
	DeadRedriven = "redriven"
	DeadPurged   = "purged"
)

// deadActionsKept is how long the store remembers what was done with a dead letter: longer than the topic keeps the letter.
const deadActionsKept = 31 * 24 * time.Hour

// DeadAction is what was done with one dead letter.
type DeadAction struct {
	// Letter is the letter's place, partition-offset.
	Letter string
	// Action is DeadRedriven or DeadPurged.
	Action string
	JobID  string
	Reason string
	// Who asked for it: the address of the client.
	Who string
	At  time.Time
}

// NoteDead writes what was done with a dead letter. What was noted first stays, but a purge follows anything.
func (s *SQL) NoteDead(ctx context.Context, a DeadAction) error {
	err := s.inTx(ctx, func(tx *tx) error {
		now := s.now()
		if _, err := tx.exec(ctx, `DELETE FROM dead_actions WHERE at_ms < ?`, millis(now.Add(-deadActionsKept))); err != nil {
			return err
		}
		query := `INSERT INTO dead_actions (letter, action, job_id, reason, who, at_ms) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (letter) DO NOTHING`
		if a.Action == DeadPurged {
			query = `INSERT INTO dead_actions (letter, action, job_id, reason, who, at_ms) VALUES (?, ?, ?, ?, ?, ?)
				ON CONFLICT (letter) DO UPDATE SET action = excluded.action, who = excluded.who, at_ms = excluded.at_ms`
		}
		_, err := tx.exec(ctx, query, a.Letter, a.Action, a.JobID, a.Reason, a.Who, millis(now))
		return err
	})
	if err != nil {
		return fmt.Errorf("noting what was done with dead letter %s: %w", a.Letter, err)
	}
	return nil
}

// DeadAction returns what was done with a dead letter; the zero value if nothing was.
func (s *SQL) DeadAction(ctx context.Context, letter string) (DeadAction, error) {
	var a DeadAction
	err := s.queryRead(ctx, func(rows *sql.Rows) error {
		var at int64
		err := rows.Scan(&a.Letter, &a.Action, &a.JobID, &a.Reason, &a.Who, &at)
		a.At = fromMillis(at)
		return err
	}, `SELECT letter, action, job_id, reason, who, at_ms FROM dead_actions WHERE letter = ?`, letter)
	if err != nil {
		return DeadAction{}, fmt.Errorf("reading what was done with dead letter %.40q: %w", letter, err)
	}
	return a, nil
}
