package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Errors that callers tell apart.
var (
	ErrNoKey     = errors.New("key not found")
	ErrKeyExists = errors.New("key exists already")
	ErrKeyEnded  = errors.New("key is expired or revoked")
)

// Key is a key without its secret.
type Key struct {
	ID, Tenant string
	// Name is what its owner calls it.
	Name   string
	Scopes []string
	// SecretHash is the hex SHA-256 of the secret.
	SecretHash string
	Created    time.Time
	// Expires and Revoked are zero for never.
	Expires, Revoked time.Time
	// ReplacedBy is the id of the key that Rotate made in its place; empty if none.
	ReplacedBy string
}

// Works tells whether the key is good at a time.
func (k Key) Works(at time.Time) bool {
	return k.Revoked.IsZero() && (k.Expires.IsZero() || at.Before(k.Expires))
}

const keyColumns = `key_id, tenant, name, scopes, secret_sha256, created_ms, expires_ms, revoked_ms, replaced_by`

func scanKey(row scanner) (Key, error) {
	var k Key
	var scopes string
	var created, expires, revoked int64
	err := row.Scan(&k.ID, &k.Tenant, &k.Name, &scopes, &k.SecretHash, &created, &expires, &revoked, &k.ReplacedBy)
	if errors.Is(err, sql.ErrNoRows) {
		return Key{}, ErrNoKey
	}
	k.Scopes = strings.Fields(scopes)
	k.Created, k.Expires, k.Revoked = fromMillis(created), fromMillis(expires), fromMillis(revoked)
	return k, err
}

// Key returns a key, or ErrNoKey.
func (s *SQL) Key(ctx context.Context, id string) (Key, error) {
	k, err := scanKey(s.rowRead(ctx, `SELECT `+keyColumns+` FROM api_keys WHERE key_id = ?`, id))
	if err != nil {
		return Key{}, fmt.Errorf("reading key %.40q: %w", id, err)
	}
	return k, nil
}

// Keys returns up to limit keys by id, after an id; tenant "" is all tenants.
func (s *SQL) Keys(ctx context.Context, tenant, after string, limit int) (keys []Key, err error) {
	query, args := `SELECT `+keyColumns+` FROM api_keys WHERE key_id > ?`, []any{after}
	if tenant != "" {
		query, args = query+` AND tenant = ?`, append(args, tenant)
	}
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		k, err := scanKey(rows)
		keys = append(keys, k)
		return err
	}, query+` ORDER BY key_id LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("listing keys: %w", err)
	}
	return keys, nil
}

// CreateKey writes a new key. It fails with ErrNoTenant and ErrKeyExists.
func (s *SQL) CreateKey(ctx context.Context, k Key) (Key, error) {
	k.Created = s.now().UTC().Truncate(time.Millisecond)
	err := s.inTx(ctx, func(tx *tx) error { return insertKey(ctx, tx, k) })
	if err != nil {
		return Key{}, fmt.Errorf("creating key %s: %w", k.ID, err)
	}
	return k, nil
}

func insertKey(ctx context.Context, tx *tx, k Key) error {
	if _, err := scanTenant(tx.row(ctx, `SELECT `+tenantColumns+` FROM tenants WHERE tenant = ?`, k.Tenant)); err != nil {
		return err
	}
	n, err := tx.exec(ctx, `INSERT INTO api_keys (`+keyColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key_id) DO NOTHING`,
		k.ID, k.Tenant, k.Name, strings.Join(k.Scopes, " "), k.SecretHash, millis(k.Created), millis(k.Expires), millis(k.Revoked), k.ReplacedBy)
	if err == nil && n == 0 {
		return ErrKeyExists
	}
	return err
}

// FirstKey writes a key if there is none at all, and tells whether it did.
func (s *SQL) FirstKey(ctx context.Context, k Key) (written bool, err error) {
	k.Created = s.now().UTC().Truncate(time.Millisecond)
	err = s.inTx(ctx, func(tx *tx) error {
		// The counter makes two gateways that start at once take turns.
		n, err := tx.exec(ctx, `INSERT INTO counters (name, n) SELECT 'first_key', 1 WHERE NOT EXISTS (SELECT 1 FROM api_keys) ON CONFLICT (name) DO NOTHING`)
		if err != nil || n == 0 {
			return err
		}
		written = true
		return insertKey(ctx, tx, k)
	})
	if err != nil {
		return false, fmt.Errorf("creating the first key: %w", err)
	}
	return written, nil
}

// RevokeKey makes a key useless from now on and returns it. It fails with ErrNoKey; revoking again changes nothing.
func (s *SQL) RevokeKey(ctx context.Context, id string) (k Key, err error) {
	err = s.inTx(ctx, func(tx *tx) (err error) {
		k, err = scanKey(tx.row(ctx, `UPDATE api_keys SET revoked_ms = CASE WHEN revoked_ms = 0 THEN ? ELSE revoked_ms END WHERE key_id = ? RETURNING `+keyColumns,
			millis(s.now()), id))
		return err
	})
	if err != nil {
		return Key{}, fmt.Errorf("revoking key %.40q: %w", id, err)
	}
	return k, nil
}

// RotateKey makes a key that does what the old one does, with the id and hash of fresh and a life as long as the old one's. The old key works until the
// end of overlap at the latest. It fails with ErrNoKey, and with ErrKeyEnded for a key that works no more.
func (s *SQL) RotateKey(ctx context.Context, id string, fresh Key, overlap time.Duration) (Key, error) {
	now := s.now().UTC().Truncate(time.Millisecond)
	err := s.inTx(ctx, func(tx *tx) error {
		old, err := scanKey(tx.row(ctx, `SELECT `+keyColumns+` FROM api_keys WHERE key_id = ?`+tx.dialect.lock, id))
		if err != nil {
			return err
		}
		if !old.Works(now) || old.ReplacedBy != "" {
			return ErrKeyEnded
		}
		fresh.Tenant, fresh.Name, fresh.Scopes, fresh.Created = old.Tenant, old.Name, old.Scopes, now
		until := now.Add(overlap)
		if !old.Expires.IsZero() {
			fresh.Expires = now.Add(old.Expires.Sub(old.Created))
			if old.Expires.Before(until) {
				until = old.Expires
			}
		}
		if err := insertKey(ctx, tx, fresh); err != nil {
			return err
		}
		_, err = tx.exec(ctx, `UPDATE api_keys SET expires_ms = ?, replaced_by = ? WHERE key_id = ?`, millis(until), fresh.ID, id)
		return err
	})
	if err != nil {
		return Key{}, fmt.Errorf("rotating key %.40q: %w", id, err)
	}
	return fresh, nil
}
