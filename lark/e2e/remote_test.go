package e2e

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/index"
	"github.com/larkstream/larkstream/lark/internal/up"
	"github.com/larkstream/larkstream/shared/event"
)

// bucket is an S3 server in memory that answers each request only when it comes the second time.
type bucket struct {
	*httptest.Server
	backend gofakes3.Backend
	mu      sync.Mutex
	seen    map[string]bool
	away    atomic.Bool // answers nothing but 503
}

func startBucket(t *testing.T, objects map[string][]byte) *bucket {
	t.Helper()
	b := &bucket{backend: s3mem.New(), seen: map[string]bool{}}
	require.NoError(t, b.backend.CreateBucket("lib"))
	for name, data := range objects {
		meta := map[string]string{"Last-Modified": time.Now().UTC().Format(http.TimeFormat)}
		_, err := b.backend.PutObject("lib", name, meta, bytes.NewReader(data), int64(len(data)), &gofakes3.PutConditions{})
		require.NoError(t, err)
	}
	answers := gofakes3.New(b.backend).Server()
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		request := r.Method + r.URL.String() + r.Header.Get("Range")
		again := b.seen[request]
		b.seen[request] = true
		b.mu.Unlock()
		if !again || b.away.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		answers.ServeHTTP(w, r)
	}))
	t.Cleanup(b.Close)
	return b
}

// at is a prefix of the bucket.
func (b *bucket) at(prefix string) string {
	return "s3://lib/" + prefix + "?" + url.Values{"endpoint": {b.URL}, "use_path_style": {"true"}, "region": {"us-east-1"}}.Encode()
}

func bucketKeys() []string {
	return []string{"AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret"}
}

// TestACatalogueInABucket plans, runs, exports and verifies a catalogue that no disk of ours holds, and whose server fails at each first request.
func TestACatalogueInABucket(t *testing.T) {
	onlyEmbedded(t)
	song := melody(seedOf(t), 2)
	b := startBucket(t, map[string][]byte{
		"music/a b#1.wav": song, "music/live/c.wav": melody(seedOf(t), 3), "music/again.wav": song, "music/text.mp3": []byte("this is no music\n"), "music/empty.flac": nil,
		"music/cover.jpg": []byte("x"), "musicbox/d.wav": song,
	})
	s := start(t, options{data: t.TempDir(), env: append(append(testEngines(), bucketKeys()...), "LARK_SOURCES="+b.at("music"))})
	from := b.at("music")

	var plan index.Plan
	stdout, stderr, code := s.lark(t, "index", "plan", from, "What is the tempo?", "--read", "all", "--json")
	require.Zero(t, code, stderr)
	require.NoError(t, json.Unmarshal([]byte(stdout), &plan))
	require.Equal(t, []int{5, 3, 3, 1}, []int{plan.Items, plan.Good, plan.Windows, plan.SameBytes})
	require.Equal(t, map[string]int{event.CodeAudioUndecodable: 1, event.CodeAudioEmpty: 1}, plan.Failing)
	require.Equal(t, index.Left{".jpg": 1}, plan.Left)
	require.InDelta(t, 7, plan.AudioS, 1e-6)
	jobs, err := s.List(t.Context(), client.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, jobs.Jobs, "a plan makes no job")

	_, stderr, code = s.lark(t, "index", "run", from, "What is the tempo?", "--name", "bucket")
	require.Equal(t, 3, code, stderr)
	run, err := s.Run(t.Context(), "bucket")
	require.NoError(t, err)
	require.Equal(t, []int{3, 2}, []int{run.Counts.Succeeded, run.Counts.Failed})
	require.Equal(t, 2, run.Work.Encoded, "two objects have the same bytes")

	out := b.at("results/1")
	told := s.larkOK(t, "index", "export", "bucket", "--format", "parquet", "--out", out)
	require.Contains(t, told, "s3://lib/results/1/tracks-00000.parquet  5 rows")
	require.NotContains(t, told, "endpoint")
	require.Contains(t, s.larkOK(t, "index", "verify", "bucket", "--source", from, "--export", out), "5 items, 4 outcomes, 0 differences")
	_, err = s.CreateRun(t.Context(), client.RunSubmission{Name: "outside", Questions: []string{"q"}})
	require.NoError(t, err)
	_, err = s.AddItems(t.Context(), "outside", []client.NewItem{{ID: "d", URI: "s3://lib/musicbox/d.wav"}})
	require.NoError(t, err)
	_, err = s.MoveRun(t.Context(), "outside", "start")
	require.NoError(t, err)
	require.Equal(t, map[string]int{event.CodeSourceNotAllowed: 1}, s.followRun(t, "outside").Failures)
}

// TestACatalogueOnTheWeb: items of an HTTPS host are planned by ranges and read where they lie; each fault has its reason, and a host that is overloaded is waited for.
func TestACatalogueOnTheWeb(t *testing.T) {
	onlyEmbedded(t)
	var mu sync.Mutex
	ranges, busy, asked := 0, true, map[string]int{}
	good, other, before, after := melody(seedOf(t), 2), melody(seedOf(t), 3), melody(seedOf(t), 2), melody(seedOf(t), 2)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked[r.URL.Path]++
		data := good
		switch name := strings.TrimPrefix(r.URL.Path, "/tracks/"); name {
		case "a b.wav":
			if r.URL.Query().Get("signature") != "s" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
		case "other.wav":
			data = other
		case "moved.wav":
			http.Redirect(w, r, "/tracks/other.wav", http.StatusFound)
			return
		case "inside.wav":
			http.Redirect(w, r, "https://127.0.0.2/secret.wav", http.StatusFound)
			return
		case "away.wav":
			http.Redirect(w, r, "/secret.wav", http.StatusFound)
			return
		case "changes.wav": // after the gateway has read it
			if data = before; asked[r.URL.Path] > 1 {
				data = after
			}
		case "busy.wav":
			if busy {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
		case "text.mp3":
			data = []byte(strings.Repeat("this is no music\n", 100))
		default:
			http.NotFound(w, r)
			return
		}
		if r.Header.Get("Range") != "" {
			ranges++
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	t.Cleanup(server.Close)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	write(t, roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))

	want := map[string]string{
		"a%20b.wav?signature=s": "", "other.wav": "", "moved.wav": "", "busy.wav": "", "a%20b.wav": event.CodeSourceDenied, "missing.wav": event.CodeSourceMissing,
		"inside.wav": event.CodeSourceNotAllowed, "away.wav": event.CodeSourceNotAllowed, "text.mp3": event.CodeAudioUndecodable, "../secret.wav": event.CodeSourceNotAllowed,
	}
	list := []string{"uri"}
	for name := range want {
		list = append(list, server.URL+"/tracks/"+name)
	}
	path := filepath.Join(t.TempDir(), "list.csv")
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(list, "\n")), 0o600))
	s := start(t, options{data: t.TempDir(), env: append(testEngines(), "SSL_CERT_FILE="+roots, "LARK_SOURCES="+server.URL+"/tracks?private=true")})

	var plan index.Plan
	stdout, stderr, code := s.lark(t, "index", "plan", path, "What is the tempo?", "--read", "0", "--json")
	require.Zero(t, code, stderr)
	require.NoError(t, json.Unmarshal([]byte(stdout), &plan))
	require.Equal(t, 3, plan.Good, "%v", plan.Examples)
	require.Equal(t, map[string]int{
		client.CodeSourceUnavailable: 1, event.CodeSourceDenied: 1, event.CodeSourceMissing: 1, event.CodeSourceNotAllowed: 2, event.CodeAudioUndecodable: 1,
	}, plan.Failing)
	require.Equal(t, 1, plan.BadLines, "a path that leads out is no item")
	require.InDelta(t, 8, plan.AudioS, 1e-6)
	mu.Lock()
	require.Positive(t, ranges)
	mu.Unlock()

	_, stderr, code = s.lark(t, "index", "run", path, "What is the tempo?", "--name", "web", "--detach")
	require.Zero(t, code, stderr)
	require.Eventually(t, func() bool {
		run, err := s.Run(t.Context(), "web")
		return err == nil && run.Counts.Ended() == 8 && strings.Contains(run.Reason, "the server answered 503")
	}, patience, poll, "the run says what it waits for")
	mu.Lock()
	busy = false
	mu.Unlock()
	run := s.followRun(t, "web")
	require.Equal(t, []int{4, 5}, []int{run.Counts.Succeeded, run.Counts.Failed})
	require.NoError(t, index.EachItem(t.Context(), s.Client, run.ID, "", false, func(it client.RunItem) error {
		require.Equal(t, want[strings.TrimPrefix(it.URI, server.URL+"/tracks/")], it.Code, "%s: %s", it.URI, it.Message)
		return nil
	}))

	changes, err := s.CreateRun(t.Context(), client.RunSubmission{Questions: []string{"q"}})
	require.NoError(t, err)
	_, err = s.AddItems(t.Context(), changes.ID, []client.NewItem{{ID: "c", URI: server.URL + "/tracks/changes.wav"}})
	require.NoError(t, err)
	_, err = s.MoveRun(t.Context(), changes.ID, "start")
	require.NoError(t, err)
	require.Equal(t, map[string]int{event.CodeSourceChanged: 1}, s.followRun(t, changes.ID).Failures)
	require.Zero(t, s.metric(t, up.Gateway, "lark_ledger_imbalance"))
}
