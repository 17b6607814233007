package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/storetest"
	"github.com/larkstream/larkstream/gateway/pgtest"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main{M: m}) }

// implementations of the job store; each passes the whole suite.
var implementations = map[string]func(t testing.TB) *store.SQL{
	"sqlite":   func(t testing.TB) *store.SQL { return open(t, storetest.URL(t)) },
	"postgres": func(t testing.TB) *store.SQL { return open(t, pgtest.PreparedDatabase(t, migrate)) },
}

// migrate runs the migrations on an empty database.
func migrate(url string) error {
	s, err := store.Open(context.Background(), url)
	if err != nil {
		return err
	}
	return s.Close()
}

func open(t testing.TB, url string) *store.SQL {
	t.Helper()
	s, err := store.Open(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// each runs a behaviour on every implementation.
func each(t *testing.T, behaviour func(t *testing.T, s *store.SQL)) {
	t.Helper()
	for name, make := range implementations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			behaviour(t, make(t))
		})
	}
}

var created = time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)

func newJob(id string, questions ...string) store.Job {
	return store.NewJob(event.TenantDefault, event.JobSpec{
		ID: id, Plan: event.PlanAll, Questions: questions, Created: created,
		Audio:    event.AudioFile{SHA256: "00ff", Name: "ä.wav", Bytes: 7},
		Spans:    []event.Span{{StartS: 1.5, EndS: 2}},
		Decode:   event.Decoding{MaxTokens: 9, Temperature: new(float32(0)), TopP: 0.25, Seed: 1 << 63},
		Deadline: created.Add(time.Hour), Options: event.Options{ResponseSchema: event.SchemaTags}, ModelDigest: "d1",
	}, "abc")
}

func create(t *testing.T, s *store.SQL, job store.Job) store.Job {
	t.Helper()
	rec := event.Record{Topic: "jobs", Key: job.ID, Value: []byte{0, 255}, Headers: []event.Header{{Key: "traceparent", Value: []byte("00-1")}}}
	require.NoError(t, s.Create(t.Context(), job, []event.Record{rec}, store.CreateOptions{}))
	return job
}

func TestOpenMakesTheFolder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deep", "jobs.db")
	open(t, "sqlite://"+path)
	require.FileExists(t, path)
}

func TestCreateAndGet(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		want := create(t, s, newJob("j1", "one?", "zwei ü?"))
		got, err := s.Get(t.Context(), "j1")
		require.NoError(t, err)
		require.Equal(t, want, got)
		_, err = s.Get(t.Context(), "j2")
		require.ErrorIs(t, err, store.ErrNotFound)
		_, err = s.Peek(t.Context(), "' OR 1=1 --")
		require.ErrorIs(t, err, store.ErrNotFound)
	})
}

func TestCreateIsAllOrNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		create(t, s, newJob("j1", "q"))
		err := s.Create(t.Context(), newJob("j1", "q"), []event.Record{{Topic: "jobs"}}, store.CreateOptions{})
		require.Error(t, err, "the id exists")
		err = s.Create(t.Context(), newJob("j2", "q"), []event.Record{{Topic: "jobs"}}, store.CreateOptions{Claim: store.Claim{Tenant: event.TenantDefault, Key: "k", Owner: "nobody"}})
		require.ErrorIs(t, err, store.ErrClaimExpired)
		pending, err := s.Pending(t.Context(), 10)
		require.NoError(t, err)
		require.Len(t, pending, 1, "no job, no record")
		_, err = s.Get(t.Context(), "j2")
		require.ErrorIs(t, err, store.ErrNotFound)
	})
}

func TestOpenJobsAreLimited(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		opts := store.CreateOptions{MaxOpen: 2}
		for i := range 2 {
			require.NoError(t, s.Create(t.Context(), newJob(fmt.Sprint("j", i), "q"), nil, opts))
		}
		require.ErrorIs(t, s.Create(t.Context(), newJob("j2", "q"), nil, opts), store.ErrTooManyJobs)
		finish(t, s, "j0", 1, 1)
		require.NoError(t, s.Create(t.Context(), newJob("j2", "q"), nil, opts), "an ended job makes room")
	})
}

func TestList(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		place := map[string]store.Place{}
		for i, id := range []string{"j0", "z1", "a2", "j3", "j4"} { // fed jobs have ids that do not follow time
			job := newJob(id, "q")
			job.Created = job.Created.Add(time.Duration(i/2) * time.Second)
			create(t, s, job)
			place[id] = store.Place{Created: job.Created, ID: id}
		}
		finish(t, s, "j3", 1, 1)
		ids := func(q store.ListQuery) (out []string) {
			jobs, err := s.List(t.Context(), q)
			require.NoError(t, err)
			for _, j := range jobs {
				out = append(out, j.ID)
			}
			return out
		}
		require.Equal(t, []string{"j4", "j3"}, ids(store.ListQuery{Tenant: event.TenantDefault, Limit: 2}))
		require.Equal(t, []string{"a2", "z1"}, ids(store.ListQuery{Tenant: event.TenantDefault, Limit: 2, After: place["j3"]}))
		require.Equal(t, []string{"a2", "z1", "j0"}, ids(store.ListQuery{Tenant: event.TenantDefault, Limit: 9, After: place["j4"], State: store.Queued}))
		require.Equal(t, []string{"j3"}, ids(store.ListQuery{Tenant: event.TenantDefault, Limit: 9, State: store.Succeeded}))
		require.Empty(t, ids(store.ListQuery{Tenant: event.TenantDefault, Limit: 9, After: place["j0"]}))
	})
}

func TestCancel(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		create(t, s, newJob("j1", "q"))
		control := []event.Record{{Topic: "control", Key: "j1"}}
		for range 2 {
			j, err := s.Cancel(t.Context(), "j1", control, nil)
			require.NoError(t, err)
			require.Equal(t, store.Cancelling, j.State)
			require.False(t, j.CancelAsked.IsZero())
		}
		pending, err := s.Pending(t.Context(), 10)
		require.NoError(t, err)
		require.Len(t, pending, 2, "the job and one control record, in order")
		require.Equal(t, "control", pending[1].Record.Topic)

		record(t, s, store.Entry{Plan: plan("j1", 1, 1)})
		j, err := s.Get(t.Context(), "j1")
		require.NoError(t, err)
		require.Equal(t, store.Cancelling, j.State, "a late plan does not make it running again")
		res := record(t, s, store.Entry{Outcome: outcome("j1", 0, 0, eventpb.State_STATE_CANCELLED)})
		require.Equal(t, store.Cancelled, res[0].Job.State)

		j, err = s.Cancel(t.Context(), "j1", control, nil)
		require.NoError(t, err)
		require.Equal(t, store.Cancelled, j.State)
		_, err = s.Cancel(t.Context(), "none", control, nil)
		require.ErrorIs(t, err, store.ErrNotFound)
		pending, err = s.Pending(t.Context(), 10)
		require.NoError(t, err)
		require.Len(t, pending, 2)
	})
}

func TestAudioInUse(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		for i := range 3 {
			job := newJob(fmt.Sprint("j", i), "q")
			job.Audio.SHA256 = strconv.Itoa(i / 2)
			create(t, s, job)
		}
		finish(t, s, "j0", 1, 1)
		inUse := func(key string) bool {
			used, err := s.AudioInUse(t.Context(), key)
			require.NoError(t, err)
			return used
		}
		require.True(t, inUse("audio/0"), "j1 still needs what j0 had")
		require.True(t, inUse("audio/1"))
		require.False(t, inUse("audio/2"))
		finish(t, s, "j1", 1, 1)
		require.False(t, inUse("audio/0"))
		require.True(t, inUse("audio/1"))
	})
}

func TestOutbox(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		for i := range 30 {
			create(t, s, newJob(fmt.Sprintf("j%02d", 29-i), "q"))
		}
		depth, oldest, err := s.OutboxDepth(t.Context())
		require.NoError(t, err)
		require.Equal(t, 30, depth)
		require.Equal(t, created, oldest)
		for from := 29; from >= 0; from -= 10 {
			pending, err := s.Pending(t.Context(), 10)
			require.NoError(t, err)
			require.Len(t, pending, 10)
			for i, p := range pending {
				require.Equal(t, fmt.Sprintf("j%02d", from-i), p.Record.Key, "in the order in which they were written")
			}
			require.Equal(t, []byte{0, 255}, pending[0].Record.Value)
			require.Equal(t, "00-1", pending[0].Record.Get("traceparent"))
			require.NoError(t, s.Sent(t.Context(), pending))
			require.NoError(t, s.Sent(t.Context(), pending), "again changes nothing")
		}
		depth, oldest, err = s.OutboxDepth(t.Context())
		require.NoError(t, err)
		require.Zero(t, depth)
		require.True(t, oldest.IsZero())
	})
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		now := created
		s.SetNow(func() time.Time { return now })
		lapse, keep := now.Add(time.Minute), now.Add(time.Hour)
		claim, used, err := s.Reserve(t.Context(), event.TenantDefault, "k", lapse)
		require.NoError(t, err)
		require.Nil(t, used)
		_, _, err = s.Reserve(t.Context(), event.TenantDefault, "k", lapse)
		require.ErrorIs(t, err, store.ErrKeyInFlight)
		_, err = s.KeyJob(t.Context(), event.TenantDefault, "k")
		require.ErrorIs(t, err, store.ErrKeyInFlight)

		require.NoError(t, s.Release(t.Context(), claim))
		_, err = s.KeyJob(t.Context(), event.TenantDefault, "k")
		require.ErrorIs(t, err, store.ErrNotFound, "no request with the key is in hand")
		claim, _, err = s.Reserve(t.Context(), event.TenantDefault, "k", lapse)
		require.NoError(t, err, "released")

		now = now.Add(50 * time.Second)
		require.NoError(t, s.Extend(t.Context(), claim, now.Add(time.Minute)))
		now = now.Add(50 * time.Second)
		_, _, err = s.Reserve(t.Context(), event.TenantDefault, "k", lapse)
		require.ErrorIs(t, err, store.ErrKeyInFlight, "its request goes on")
		now = now.Add(2 * time.Minute)
		second, _, err := s.Reserve(t.Context(), event.TenantDefault, "k", now.Add(time.Minute))
		require.NoError(t, err, "lapsed")
		opts := store.CreateOptions{Claim: claim, Fingerprint: "f1", KeepUntil: keep}
		require.ErrorIs(t, s.Create(t.Context(), newJob("j1", "q"), nil, opts), store.ErrClaimExpired, "the key has gone to another")
		require.NoError(t, s.Release(t.Context(), claim), "which the loser cannot take back")
		opts.Claim = second
		require.NoError(t, s.Create(t.Context(), newJob("j2", "q"), nil, opts))
		require.NoError(t, s.Release(t.Context(), second), "a key that made a job stays")
		_, used, err = s.Reserve(t.Context(), event.TenantDefault, "k", lapse)
		require.NoError(t, err)
		require.Equal(t, &store.Used{JobID: "j2", Fingerprint: "f1"}, used)
		id, err := s.KeyJob(t.Context(), event.TenantDefault, "k")
		require.NoError(t, err)
		require.Equal(t, "j2", id)

		n, err := s.ForgetKeys(t.Context())
		require.NoError(t, err)
		require.Zero(t, n)
		now = keep
		_, err = s.KeyJob(t.Context(), event.TenantDefault, "k")
		require.ErrorIs(t, err, store.ErrNotFound, "forgotten")
		n, err = s.ForgetKeys(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, n)
	})
}

func TestSurvivesReopening(t *testing.T) {
	t.Parallel()
	address := "sqlite://" + filepath.Join(t.TempDir(), "a b#?.db")
	first, err := store.Open(t.Context(), address)
	require.NoError(t, err)
	create(t, first, newJob("j1", "q"))
	require.NoError(t, first.Close())
	second := open(t, address)
	got, err := second.Get(t.Context(), "j1")
	require.NoError(t, err)
	require.Equal(t, []string{"q"}, got.Questions)
}

// TestOldDatabases opens databases that earlier versions have left, by the number of migrations that those knew.
func TestOldDatabases(t *testing.T) {
	t.Parallel()
	const row = `'queued', '00ff', 'audio/00ff', 7, 'a.wav', 'all', '[]', '{"seed":3}', '', 1, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0`
	for migrations, jobs := range map[int]map[string]string{
		1: {"INSERT INTO jobs VALUES ('j1', " + row + ")": ""},
		2: {"INSERT INTO jobs VALUES ('j1', " + row + ", '')": "", "INSERT INTO jobs VALUES ('j1', " + row + ", 'tags')": event.SchemaTags},
	} {
		for insert, schema := range jobs {
			s := open(t, oldDatabase(t, migrations, insert))
			got, err := s.Peek(t.Context(), "j1")
			require.NoError(t, err)
			require.Equal(t, "a.wav", got.Audio.Name)
			require.Equal(t, uint64(3), got.Decode.Seed)
			require.Equal(t, event.Options{ResponseSchema: schema}, got.Options)
			create(t, s, newJob("j2", "q"))
			got, err = s.Peek(t.Context(), "j2")
			require.NoError(t, err)
			require.Equal(t, event.SchemaTags, got.ResponseSchema)
		}
	}
}

// oldDatabase has the first migrations applied and one job.
func oldDatabase(t *testing.T, migrations int, insert string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "jobs.db")
	old, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	exec := func(statement string, args ...any) {
		_, err := old.ExecContext(t.Context(), statement, args...)
		require.NoError(t, err, statement)
	}
	exec(`CREATE TABLE schema_migrations (version TEXT PRIMARY KEY, applied_ms BIGINT NOT NULL)`)
	files, err := filepath.Glob("migrations/*.sql")
	require.NoError(t, err)
	for _, file := range files[:migrations] {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		exec(string(text))
		exec(`INSERT INTO schema_migrations VALUES (?, 1)`, filepath.Base(file))
	}
	exec(insert)
	require.NoError(t, old.Close())
	return "sqlite://" + path
}

func TestOpenRefusesOtherDatabases(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"", "mysql://user:secret@host/db", "postgres://user:secret@host:port/db", "postgres://user:secret@%zz/db",
		"postgres://user:secret@host/db?sslmode=secret", "sqlite:", "/tmp/x.db",
	} {
		_, err := store.Open(t.Context(), url)
		require.ErrorContains(t, err, "opening job store")
		require.NotContains(t, err.Error(), "secret")
	}
}

// addresses are the URLs of empty databases by kind.
var addresses = map[string]func(t testing.TB) string{
	"sqlite":   func(t testing.TB) string { return "sqlite://" + filepath.Join(t.TempDir(), "jobs.db") },
	"postgres": pgtest.Database,
}

// TestNewerDatabasesAreRefused: a binary that goes back one version must not write what the newer version cannot read.
func TestNewerDatabasesAreRefused(t *testing.T) {
	t.Parallel()
	for kind, address := range addresses {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			at := address(t)
			first, err := store.Open(t.Context(), at)
			require.NoError(t, err)
			create(t, first, newJob("j1", "q"))
			require.NoError(t, first.Exec(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, TRUE)`))
			require.NoError(t, first.Close())
			_, err = store.Open(t.Context(), at)
			require.ErrorIs(t, err, store.ErrNewer)
			require.ErrorContains(t, err, "9999")
		})
	}
}

// TestGatewaysThatStartTogether open the same empty database at once.
func TestGatewaysThatStartTogether(t *testing.T) {
	t.Parallel()
	at := pgtest.Database(t)
	stores := make([]*store.SQL, 4)
	var wg sync.WaitGroup
	for i := range stores {
		wg.Go(func() {
			var err error
			stores[i], err = store.Open(t.Context(), at)
			require.NoError(t, err)
		})
	}
	wg.Wait()
	create(t, stores[0], newJob("j1", "q"))
	for _, s := range stores {
		_, err := s.Get(t.Context(), "j1")
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
}

// TestFirstConnection: what is wrong with DATABASE_URL is said with what to do about it, and without its password.
func TestFirstConnection(t *testing.T) {
	t.Parallel()
	good, err := url.Parse(pgtest.Database(t))
	require.NoError(t, err)
	wrong, missing := *good, *good
	wrong.User = url.UserPassword("lark", "hunter2")
	missing.Path = "/nowhere"
	password, _ := good.User.Password()
	for text, want := range map[string]string{wrong.String(): "check the user and the password", missing.String(): "create the database"} {
		_, err := store.Open(t.Context(), text)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2")
		require.NotContains(t, err.Error(), password)
	}
}

func TestDialect(t *testing.T) {
	t.Parallel()
	require.Equal(t, "a = $1 AND b IN ($2, $3)", store.Rebind("a = ? AND b IN (?, ?)"))
}

func TestCancelledContext(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Record(ctx, []store.Entry{{Plan: plan("j1", 1, 1)}})
		require.ErrorIs(t, err, context.Canceled)
		_, err = s.List(ctx, store.ListQuery{Tenant: event.TenantDefault, Limit: 1})
		require.ErrorIs(t, err, context.Canceled)
	})
}
