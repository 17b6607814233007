package store

import (
	"context"
	"fmt"
	"time"
)

// Lease takes what only one gateway does at a time, for owner and until it lapses, and tells whether owner has it. An owner that has it already
// keeps it for longer. A gateway that dies holds nobody up for longer than its lease. Gateways on several machines need clocks that agree to well
// within the time of a lease, as NTP keeps them.
func (s *SQL) Lease(ctx context.Context, name, owner string, lapse time.Time) (bool, error) {
	var n int64
	err := s.inTx(ctx, func(tx *tx) (err error) {
		n, err = tx.exec(ctx, `INSERT INTO leases (name, owner, until_ms) VALUES (?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until_ms = excluded.until_ms WHERE leases.owner = excluded.owner OR leases.until_ms <= ?`,
			name, owner, millis(lapse), millis(s.now()))
		return err
	})
	if err != nil {
		return false, fmt.Errorf("taking the lease of %s: %w", name, err)
	}
	return n > 0, nil
}

// Unlease gives a lease back. It does nothing to another owner's.
func (s *SQL) Unlease(ctx context.Context, name, owner string) error {
	err := s.inTx(ctx, func(tx *tx) error {
		_, err := tx.exec(ctx, `DELETE FROM leases WHERE name = ? AND owner = ?`, name, owner)
		return err
	})
	if err != nil {
		return fmt.Errorf("giving back the lease of %s: %w", name, err)
	}
	return nil
}
