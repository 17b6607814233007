package store

import "time"

// SetNow replaces the store's clock.
func (s *SQL) SetNow(now func() time.Time) { s.now = now }

// Rebind turns placeholders into numbered ones.
func Rebind(query string) string { return dialect{numbered: true}.rebind(query) }

// Statements splits a migration.
func Statements(text string) []string { return statements(text) }
