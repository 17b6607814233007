package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// RequireEnv names the variable of the environment that makes a missing server a failure rather than a reason to skip.
const RequireEnv = "LARK_REQUIRE_POSTGRES"

// shared is the server of this test process, started when the first test asks for it.
var shared struct {
	sync.Mutex
	server *Server
	err    error
	// prepared is the name of the database that PreparedDatabase copies; empty before its first call.
	prepared string
}

// Main is the test process with the shared server's end after it; hand it to goleak.VerifyTestMain in TestMain.
type Main struct{ M *testing.M }

// Run runs the tests and stops the server.
func (m Main) Run() int {
	code := m.M.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		return code
	}
	if err := shared.server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping PostgreSQL:", err)
		return max(code, 1)
	}
	return code
}

// Database is the URL of a new, empty database on the shared server. The test is skipped where no server is installed, unless
// LARK_REQUIRE_POSTGRES=1. The package's TestMain must run Main.
func Database(t testing.TB) string {
	t.Helper()
	database, err := sharedServer(t).NewDatabase(t.Context())
	require.NoError(t, err)
	return database
}

// PreparedDatabase is the URL of a new database of the test's own that is a copy of the one which the first call's prepare has filled: it runs once in a
// test process, and must leave no connection open. Otherwise it is as Database.
func PreparedDatabase(t testing.TB, prepare func(url string) error) string {
	t.Helper()
	server := sharedServer(t)
	shared.Lock()
	defer shared.Unlock() // also while copying, for which nobody else may be connected to the template
	if shared.prepared == "" {
		address, err := server.NewDatabase(t.Context())
		require.NoError(t, err)
		require.NoError(t, prepare(address))
		u, err := url.Parse(address)
		require.NoError(t, err)
		shared.prepared = strings.TrimPrefix(u.Path, "/")
	}
	database, err := server.newDatabase(t.Context(), shared.prepared)
	require.NoError(t, err)
	return database
}

func sharedServer(t testing.TB) *Server {
	t.Helper()
	shared.Lock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = Start(context.WithoutCancel(t.Context()), Config{})
	}
	server, err := shared.server, shared.err
	shared.Unlock()
	if errors.Is(err, ErrNotInstalled) && os.Getenv(RequireEnv) == "" {
		t.Skip(err)
	}
	require.NoError(t, err)
	return server
}
