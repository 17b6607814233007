package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Used is the answer that an earlier request with an idempotency key got.
type Used struct {
	JobID       string
	Fingerprint string
}

// Reserve takes hold of an idempotency key of a tenant for a request that starts now, until lapse at the latest
// (a gateway that dies must not block the key for ever). It returns either the claim, or what an
// earlier request with the key made, or ErrKeyInFlight.
func (s *SQL) Reserve(ctx context.Context, tenant, key string, lapse time.Time) (Claim, *Used, error) {
	claim := Claim{Tenant: tenant, Key: key, Owner: uuid.NewString()}
	var used *Used
	err := s.inTx(ctx, func(tx *tx) error {
		used = nil
		if _, err := tx.exec(ctx, `DELETE FROM idempotency WHERE tenant = ? AND idem_key = ? AND expires_ms <= ?`, tenant, key, millis(s.now())); err != nil {
			return err
		}
		n, err := tx.exec(ctx, `INSERT INTO idempotency (tenant, idem_key, fingerprint, job_id, owner, expires_ms)
			VALUES (?, ?, '', '', ?, ?) ON CONFLICT (tenant, idem_key) DO NOTHING`, tenant, key, claim.Owner, millis(lapse))
		if err != nil || n > 0 {
			return err
		}
		used = &Used{}
		err = tx.row(ctx, `SELECT job_id, fingerprint FROM idempotency WHERE tenant = ? AND idem_key = ?`, tenant, key).Scan(&used.JobID, &used.Fingerprint)
		if errors.Is(err, sql.ErrNoRows) || (err == nil && used.JobID == "") { // no row: another gateway has just released it
			return ErrKeyInFlight
		}
		return err
	})
	if err != nil {
		return Claim{}, nil, fmt.Errorf("reserving idempotency key: %w", err)
	}
	if used != nil {
		return Claim{}, used, nil
	}
	return claim, nil, nil
}

// KeyJob returns the id of the job that a request with an idempotency key of the tenant made, ErrKeyInFlight while a request with it is being handled, and
// ErrNotFound where there is neither.
func (s *SQL) KeyJob(ctx context.Context, tenant, key string) (string, error) {
	var id string
	err := s.rowRead(ctx, `SELECT job_id FROM idempotency WHERE tenant = ? AND idem_key = ? AND expires_ms > ?`, tenant, key, millis(s.now())).Scan(&id)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", ErrNotFound
	case err != nil:
		return "", fmt.Errorf("looking for the job of an idempotency key: %w", err)
	case id == "":
		return "", ErrKeyInFlight
	}
	return id, nil
}

// Extend lets a claim lapse later. It does nothing to a claim that became a job, or that somebody else holds.
func (s *SQL) Extend(ctx context.Context, claim Claim, lapse time.Time) error {
	err := s.inTx(ctx, func(tx *tx) error {
		_, err := tx.exec(ctx, `UPDATE idempotency SET expires_ms = ? WHERE tenant = ? AND idem_key = ? AND owner = ? AND job_id = ''`, millis(lapse), claim.Tenant, claim.Key, claim.Owner)
		return err
	})
	if err != nil {
		return fmt.Errorf("extending the hold on an idempotency key: %w", err)
	}
	return nil
}

// Release gives a claim up after a request that made no job, so that the key may be tried again.
// A claim that became a job, or that somebody else holds, is left alone.
func (s *SQL) Release(ctx context.Context, claim Claim) error {
	err := s.inTx(ctx, func(tx *tx) error {
		_, err := tx.exec(ctx, `DELETE FROM idempotency WHERE tenant = ? AND idem_key = ? AND owner = ? AND job_id = ''`, claim.Tenant, claim.Key, claim.Owner)
		return err
	})
	if err != nil {
		return fmt.Errorf("releasing idempotency key: %w", err)
	}
	return nil
}

// settleClaim turns the claim into the key's answer. It fails when the claim lapsed and another
// request took the key: that request's job must stay the only one.
func settleClaim(ctx context.Context, tx *tx, jobID string, opts CreateOptions) error {
	if opts.Claim.Key == "" {
		return nil
	}
	n, err := tx.exec(ctx, `UPDATE idempotency SET job_id = ?, fingerprint = ?, expires_ms = ?
		WHERE tenant = ? AND idem_key = ? AND owner = ? AND job_id = ''`,
		jobID, opts.Fingerprint, millis(opts.KeepUntil), opts.Claim.Tenant, opts.Claim.Key, opts.Claim.Owner)
	if err == nil && n == 0 {
		return ErrClaimExpired
	}
	return err
}

// ForgetKeys removes the idempotency keys whose time is over and returns how many there were. Leases that have lapsed go too.
func (s *SQL) ForgetKeys(ctx context.Context) (int, error) {
	var n int64
	err := s.inTx(ctx, func(tx *tx) error {
		var err error
		if n, err = tx.exec(ctx, `DELETE FROM idempotency WHERE expires_ms <= ?`, millis(s.now())); err != nil {
			return err
		}
		_, err = tx.exec(ctx, `DELETE FROM leases WHERE until_ms <= ?`, millis(s.now()))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("forgetting idempotency keys: %w", err)
	}
	return int(n), nil
}
