// Package storetest gives tests job stores on empty SQLite databases. The migrations run once in a process: every test would spend seconds of
// processor time on them under the race detector.
package storetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/larkstream/larkstream/gateway/internal/store"
)

// URL is the address of an empty database of the test's own that has all migrations.
func URL(t testing.TB) string {
	t.Helper()
	raw, err := template()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "jobs.db")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return "sqlite://" + path
}

// template is the file of an empty database.
var template = sync.OnceValues(func() (raw []byte, err error) {
	dir, err := os.MkdirTemp("", "lark-storetest-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "jobs.db")
	s, err := store.Open(context.Background(), "sqlite://"+path)
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil { // which leaves everything in the one file
		return nil, err
	}
	return os.ReadFile(path)
})
