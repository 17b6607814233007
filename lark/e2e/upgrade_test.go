package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/up"
)

// olderBinaries builds what the repository held before its newest migration, and returns the folder of the binaries.
func olderBinaries(t *testing.T) string {
	t.Helper()
	git := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", world.root}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.TrimSpace(string(out))
	}
	commit := git("log", "-1", "--diff-filter=A", "--format=%P", "--", "gateway/internal/store/migrations")
	if commit == "" {
		t.Skip("the version before this one is built from the history of the repository, which is cut off here: git fetch --unshallow")
	}
	bin := filepath.Join(world.root, "build", "e2e-before", commit)
	if _, err := os.Stat(bin); err == nil {
		return bin
	}
	tree := t.TempDir()
	git("archive", "--format=tar", "--output", filepath.Join(tree, "tree.tar"), commit)
	out, err := exec.CommandContext(t.Context(), "tar", "-xf", filepath.Join(tree, "tree.tar"), "-C", tree).CombinedOutput()
	require.NoError(t, err, "%s", out)
	part := bin + ".part"
	require.NoError(t, buildBinaries(t.Context(), tree, part))
	require.NoError(t, os.Rename(part, bin))
	return bin
}

// operator does to an installation what docs/operations.md says.
type operator struct {
	stack *stack
	// env are the variables that the guide exports.
	env []string

	mu sync.Mutex // one command at a time
}

// command is the program behind stop, start and replace: it asks the operator of the test to do it.
const command = `#!/bin/sh
exec curl -fsS --max-time 600 --data-urlencode "name=$1" --data-urlencode "bin=${2-}" --data-urlencode "database=$DATABASE_URL" "$OPERATOR/${0##*/}"
`

// operate gives an installation an operator. env sets the variables that the guide exports.
func operate(t *testing.T, s *stack, env ...string) *operator {
	t.Helper()
	o := &operator{stack: s}
	srv := httptest.NewServer(o)
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	for _, name := range []string{"stop", "start", "replace"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(command), 0o700))
	}
	o.env = append(s.environ(), "OPERATOR="+srv.URL, "PATH="+strings.Join([]string{dir, world.bin, os.Getenv("PATH")}, string(os.PathListSeparator)))
	o.env = append(o.env, env...)
	return o
}

func (o *operator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	ctx, cancel := context.WithTimeout(r.Context(), 2*patience)
	defer cancel()
	s, name := o.stack, r.FormValue("name")
	child := s.children[name]
	if child == nil {
		http.Error(w, "there is no process "+name, http.StatusNotFound)
		return
	}
	var err error
	if r.URL.Path != "/start" {
		child.Stop(ctx)
	}
	if r.URL.Path != "/stop" {
		s.opts.database = r.FormValue("database")
		spawn := s.spawnService
		if name == "up" {
			spawn = func(_, bin string, env []string) error { return s.spawnUp(bin, env) }
		}
		if err = spawn(name, r.FormValue("bin"), s.environ()); err == nil {
			err = s.children[name].WaitReady(ctx)
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// run runs a block of commands of the guide, and returns what they print.
func (o *operator) run(t *testing.T, block string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euxo", "pipefail", "-c", block)
	cmd.Env = o.env
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// requireRefused starts the gateway of the older version on the migrated database. It must end with the message of the guide.
func (o *operator) requireRefused(t *testing.T, older string) {
	t.Helper()
	message := regexp.MustCompile(`\n    (gateway: opening job store: .*)\n`).FindStringSubmatch(operationsGuide(t))
	require.NotNil(t, message)
	want := regexp.MustCompile(`\d+`).ReplaceAllString(regexp.QuoteMeta(message[1]), `\d+`)
	cmd := exec.CommandContext(t.Context(), filepath.Join(older, "gateway"))
	cmd.Env = append(o.env, "LARK_HTTP_ADDR=127.0.0.1:0", "LARK_ADMIN_ADDR=127.0.0.1:0")
	out, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	require.ErrorAs(t, err, &ended, "%s", out)
	require.Regexp(t, want, string(out))
}

// askers submit jobs about new windows of a track, one after another, and follow each to its end.
type askers struct {
	client *client.Client
	track  client.Job
	name   string

	stop     chan struct{}
	wg       sync.WaitGroup
	next     atomic.Int64
	outcomes atomic.Int64

	mu   sync.Mutex
	jobs []streamed
}

// askersAtOnce is more than the installation works on at once, so that jobs wait in the database too.
const askersAtOnce = 16

// askersTrack is the length of the track in seconds: windows of one second begin at every hundredth of it.
const askersTrack = 120

func (s *stack) keepAsking(ctx context.Context, c *client.Client, track client.Job, name string) *askers {
	a := &askers{client: c, track: track, name: name, stop: make(chan struct{})}
	for range askersAtOnce {
		a.wg.Go(func() { a.work(ctx) })
	}
	return a
}

func (a *askers) work(ctx context.Context) {
	for {
		select {
		case <-a.stop:
			return
		default:
		}
		n := int(a.next.Add(1))
		sub := client.Submission{AudioRef: a.track.Audio.SHA256, Questions: manyQuestions(), Plan: client.PlanExplicit}
		for i := range 2 {
			at := float64((2*n+i)%(100*(askersTrack-1))) / 100
			sub.Spans = append(sub.Spans, client.Span{StartS: at, EndS: at + 1})
		}
		var job streamed
		for again := true; again; {
			job = follow(ctx, a.client, fmt.Sprint(a.name, "-", n), sub, func() { a.outcomes.Add(1) })
			p, refused := client.AsProblem(job.err)
			again = refused && p.Status == http.StatusNotFound // the job came after the backup: it is sent again, as the guide says
		}
		a.mu.Lock()
		a.jobs = append(a.jobs, job)
		a.mu.Unlock()
		if job.err != nil {
			return
		}
	}
}

// more waits until more outcomes have come: work is in hand at this moment, and it goes on.
func (a *askers) more(t *testing.T) {
	t.Helper()
	now := a.outcomes.Load()
	require.Eventually(t, func() bool { return a.outcomes.Load() >= now+4*askersAtOnce }, killPatience, poll, "the work does not go on")
}

// ended is how many jobs have ended.
func (a *askers) ended() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.jobs)
}

// finish begins no further job, waits for the end of those begun, and returns them.
func (a *askers) finish(t *testing.T) []streamed {
	t.Helper()
	close(a.stop)
	a.wg.Wait()
	for _, job := range a.jobs {
		require.NoError(t, job.err, "job %s", job.id)
	}
	return a.jobs
}

// requireSucceeded checks that all jobs of the installation have succeeded, with one outcome for each question, and returns their ids.
func requireSucceeded(t *testing.T, c *client.Client) map[string]bool {
	t.Helper()
	ids := everyJob(t, c)
	for id := range ids {
		var job client.Job
		require.Eventually(t, func() bool {
			var err error
			job, err = c.Get(t.Context(), id)
			return err == nil && client.Terminal(job.State)
		}, killPatience, poll, "job %s has not ended", id)
		require.Equal(t, client.StateSucceeded, job.State, id)
		outcomes, err := c.Outcomes(t.Context(), id)
		require.NoError(t, err)
		requireWhole(t, job, outcomes)
	}
	return ids
}

// upgradeTrack uploads the track that jobs are about.
func (s *stack) upgradeTrack(t *testing.T) client.Job {
	t.Helper()
	track := s.submit(t, melody(seedOf(t), askersTrack), client.Submission{Questions: []string{"What is the tempo?"}, Plan: client.PlanExplicit, Spans: spans(1)})
	s.finish(t, track.ID)
	return track
}

// upgradeEnv makes engines slow enough for work to be in hand all the time, and the gateway quick to publish again what a backup does not know.
func upgradeEnv() []string {
	return append(testEngines(), "LARK_GATEWAY_LIMITS_INTERACTIVE_WINDOWS=16", "LARK_GATEWAY_REAPER_IDLE=5s", "LARK_GATEWAY_REAPER_INTERVAL=1s")
}

// TestUpgradeOneAfterAnother goes through the guide's upgrade from the version before the newest migration to this one, with two instances of each stage and two
// gateways on PostgreSQL, and back, while jobs are submitted all the time.
func TestUpgradeOneAfterAnother(t *testing.T) {
	onlyWithSeveralGateways(t)
	older := olderBinaries(t)
	requirePrograms(t, "curl")
	database, err := world.postgres.NewDatabase(t.Context())
	require.NoError(t, err)
	restored, err := world.postgres.NewDatabase(t.Context())
	require.NoError(t, err)
	s := start(t, options{data: t.TempDir(), database: database, gateways: 2, instances: 2, bin: older, env: append(upgradeEnv(), "LARK_GATEWAY_FETCH_ALLOW=127.0.0.1")})
	c := s.balanced(t, 0)
	hooks := newHookReceiver(t)
	w, err := c.CreateWebhook(t.Context(), client.NewWebhook{URL: hooks.url, Events: []string{"job.*"}})
	require.NoError(t, err)
	hooks.secret = w.Secret
	track := s.upgradeTrack(t)
	var urls []string
	for _, addr := range s.addrs {
		urls = append(urls, "http://"+addr)
	}
	o := operate(t, s, "KAFKA_BROKERS="+world.kafka.addr, "BLOB_URL=file://"+filepath.Join(s.opts.data, "blobs"), "LARK_DATA_DIR="+t.TempDir(),
		"OLD="+older, "NEW="+world.bin, "BACKUP="+t.TempDir(), "DATABASE_URL="+database, "NEW_DATABASE_URL="+restored,
		"STAGES="+strings.Join(s.opts.stageNames(), " "), "GATEWAYS="+strings.Join(s.opts.gatewayNames(), " "),
		"URLS="+strings.Join(urls, " "), "ADMIN=http://"+s.admin[up.Gateway])
	backup, upgrade, back := commandsOf(t, "### PostgreSQL", 2), commandsOf(t, "### One process after another", 3), commandsOf(t, "### Going back", 2)

	asked := s.keepAsking(t.Context(), c, track, "upgrade")
	asked.more(t)
	o.run(t, backup[0])
	for _, block := range upgrade[:2] {
		asked.more(t)
		o.run(t, block)
	}
	asked.more(t)
	require.Regexp(t, `(?m)^lark_ledger_imbalance(\{.*\})? 0$`, o.run(t, upgrade[2]))
	ids := map[string]bool{track.ID: true}
	for _, job := range asked.finish(t) {
		ids[job.id] = true
		require.Len(t, job.outcomes, 4, "job %s at its stream", job.id)
	}
	require.Equal(t, ids, requireSucceeded(t, c), "a job was made twice, or is not listed")
	hooks.told(t.Context(), t, ids)

	asked = s.keepAsking(t.Context(), c, track, "back")
	asked.more(t)
	o.requireRefused(t, older)
	o.run(t, back[0])
	o.run(t, backup[1])
	lost := asked.ended()
	o.run(t, back[1])
	asked.more(t)
	requireBack(t, c, asked, lost)
	for _, gateway := range s.opts.gatewayNames() {
		require.Zero(t, s.metric(t, gateway, "lark_ledger_imbalance"))
	}
}

// requireBack waits for the end of all jobs after going back. Of the jobs that had ended before, the database may know nothing; it has every other one, and
// whatever it has succeeds.
func requireBack(t *testing.T, c *client.Client, asked *askers, lost int) {
	t.Helper()
	jobs := asked.finish(t)
	require.Greater(t, len(jobs), lost)
	known := requireSucceeded(t, c)
	for _, job := range jobs[lost:] {
		require.Contains(t, known, job.id)
	}
	require.Greater(t, len(known), len(jobs)-lost, "jobs of before the backup")
}

// moving talks to the gateway of a lark up wherever it listens: each start takes another port.
type moving struct{ stack *stack }

func (m moving) RoundTrip(req *http.Request) (*http.Response, error) {
	addr := m.stack.addr(up.Gateway)
	if addr == "" {
		return nil, net.ErrClosed
	}
	out := req.Clone(req.Context())
	out.URL.Host, out.Host = addr, addr
	return http.DefaultTransport.RoundTrip(out)
}

// TestUpgradeOfLarkUp upgrades a lark up with SQLite as the guide says, from the version before the newest migration to this one and back, while jobs are submitted all
// the time.
func TestUpgradeOfLarkUp(t *testing.T) {
	onlyEmbedded(t)
	older := olderBinaries(t)
	requirePrograms(t, "curl", "sqlite3")
	data := t.TempDir()
	s := start(t, options{data: data, bin: older, database: "sqlite://" + filepath.Join(data, "lark.db"), env: upgradeEnv()})
	track := s.upgradeTrack(t)
	c, err := client.New("http://gateway.invalid", &http.Client{Transport: moving{s}})
	require.NoError(t, err)
	c = c.WithToken(adminKey())
	o := operate(t, s, "DATA="+data, "OLD="+older, "NEW="+world.bin, "BACKUP="+t.TempDir())
	backup, upgrade := commandsOf(t, "### SQLite", 2), commandsOf(t, "### lark up", 3)

	asked := s.keepAsking(t.Context(), c, track, "upgrade")
	asked.more(t)
	require.Contains(t, o.run(t, backup[0]), "ok")
	asked.more(t)
	o.run(t, upgrade[0])
	asked.more(t)
	ids := map[string]bool{track.ID: true}
	for _, job := range asked.finish(t) {
		ids[job.id] = true
		require.Len(t, job.outcomes, 4, "job %s at its stream", job.id)
	}
	require.Equal(t, ids, requireSucceeded(t, c), "a job was made twice, or is not listed")
	require.Zero(t, s.metric(t, up.Gateway, "lark_ledger_imbalance"))

	asked = s.keepAsking(t.Context(), c, track, "back")
	asked.more(t)
	o.run(t, upgrade[1])
	o.requireRefused(t, older)
	o.run(t, backup[1])
	lost := asked.ended()
	o.run(t, upgrade[2])
	asked.more(t)
	requireBack(t, c, asked, lost)
	require.Zero(t, s.metric(t, up.Gateway, "lark_ledger_imbalance"))
}
