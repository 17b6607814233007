package index

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/gateway/client"
)

// flaky is an S3 server, in memory, that fails as it is told to.
type flaky struct {
	*httptest.Server
	mu sync.Mutex
	// fail tells before each request what becomes of it: 0 = it is answered, -1 = it is never answered, else the status of an error.
	fail func(r *http.Request) int
	// done are the names of the objects that were written, in their order.
	done    []string
	backend gofakes3.Backend
	// uploads counts uploads in parts that have begun less those that have ended.
	uploads int
}

func startFlaky(t *testing.T) *flaky {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	s := &flaky{backend: s3mem.New()}
	require.NoError(t, s.backend.CreateBucket("results"))
	answers := gofakes3.New(s.backend).Server()
	hang := make(chan struct{})
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		status := 0
		if s.fail != nil {
			status = s.fail(r)
		}
		switch status {
		case 0:
		case -1:
			s.mu.Unlock()
			<-hang
			s.mu.Lock()
			return
		default:
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(status)
			return
		}
		query := r.URL.Query()
		switch {
		case r.Method == http.MethodPost && query.Has("uploads"):
			s.uploads++
		case r.Method == http.MethodPost && query.Has("uploadId"):
			s.uploads--
			s.done = append(s.done, path.Base(r.URL.Path))
		case r.Method == http.MethodDelete && query.Has("uploadId"):
			s.uploads--
		case r.Method == http.MethodPut && !query.Has("uploadId"):
			s.done = append(s.done, path.Base(r.URL.Path))
		}
		answers.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(hang) })
	return s
}

// place is a place of an export on the server.
func (s *flaky) place(scheme string) string {
	return scheme + "://results/runs/1?" + url.Values{"endpoint": {s.URL}, "use_path_style": {"true"}, "region": {"us-east-1"}}.Encode()
}

func (s *flaky) names(t *testing.T) (names []string) {
	t.Helper()
	list, err := s.backend.ListBucket("results", nil, gofakes3.ListBucketPage{})
	require.NoError(t, err)
	for _, o := range list.Contents {
		names = append(names, o.Key)
	}
	return names
}

// TestAnExportIntoABucket: parts of every size, errors that pass, errors that stay and a server that falls silent. The manifest is there if and only if the export is whole.
func TestAnExportIntoABucket(t *testing.T) {
	s := startFlaky(t)
	var items []client.RunItem
	for i := range 30 { // in JSON more than the 8 MiB of one part of an upload
		items = append(items, tagged("s3://lib/"+string(rune('a'+i)), map[string]string{"title": strings.Repeat("x", 300_000)}, &tags.Tags{TempoBPM: 60 + i}))
	}
	gw, run := ended(t, items)
	for _, scheme := range []string{"s3", "gs"} {
		s.done = nil
		export(t, Export{Gateway: gw, Format: "jsonl", Dir: s.place(scheme)}, run)
		require.Equal(t, []string{"tracks-00000.jsonl", "windows-00000.jsonl", ManifestName}, s.done)
	}
	require.Zero(t, s.uploads)

	// Each request fails once, and succeeds when it is sent again.
	seen := map[string]int{}
	s.fail = func(r *http.Request) int {
		if seen[r.Method+r.URL.String()]++; seen[r.Method+r.URL.String()] == 1 {
			return http.StatusServiceUnavailable
		}
		return 0
	}
	m := export(t, Export{Gateway: gw, Format: "parquet", Dir: s.place("s3"), PartRows: 20}, run)
	require.Len(t, m.Parts, 4)
	require.Equal(t, []string{
		"runs/1/_manifest.json", "runs/1/tracks-00000.jsonl", "runs/1/tracks-00000.parquet", "runs/1/tracks-00001.parquet",
		"runs/1/windows-00000.jsonl", "runs/1/windows-00000.parquet", "runs/1/windows-00001.parquet",
	}, s.names(t))
	o, err := s.backend.GetObject("results", "runs/1/tracks-00001.parquet", nil)
	require.NoError(t, err)
	raw, err := io.ReadAll(o.Contents)
	require.NoError(t, err)
	rows, err := parquet.Read[Track](bytes.NewReader(raw), int64(len(raw)))
	require.NoError(t, err)
	require.Len(t, rows, 10)

	// A part of an upload that always fails ends the export, and so does a server that does not answer.
	for name, status := range map[string]int{"out of order": http.StatusServiceUnavailable, "denied": http.StatusForbidden, "silent": -1} {
		s.fail = func(r *http.Request) int {
			if r.URL.Query().Get("partNumber") == "2" {
				return status
			}
			return 0
		}
		_, err := Export{Gateway: gw, Format: "jsonl", Dir: s.place("s3") + "&timeout=1s"}.Run(t.Context(), run)
		require.Error(t, err, name)
		require.NotContains(t, s.names(t), "runs/1/"+ManifestName, name)
		require.Zero(t, s.uploads, "%s: what was sent is given up", name)
		v, err := Verify(t.Context(), gw, run, nil, s.place("s3"))
		require.NoError(t, err)
		require.Equal(t, []string{"s3://results/runs/1 has no _manifest.json: the export was not finished"}, v.Differences)
	}

	// The next export makes everything good, and a damaged object is found.
	s.fail = nil
	export(t, Export{Gateway: gw, Format: "jsonl", Dir: s.place("s3"), PartRows: 10}, run)
	export(t, Export{Gateway: gw, Format: "jsonl", Dir: s.place("s3")}, run)
	require.False(t, slices.Contains(s.names(t), "runs/1/tracks-00001.jsonl"), "the older export had more parts")
	_, err = s.backend.PutObject("results", "runs/1/windows-00000.jsonl", map[string]string{}, strings.NewReader("x"), 1, &gofakes3.PutConditions{})
	require.NoError(t, err)
	v, err := Verify(t.Context(), gw, run, nil, s.place("s3"))
	require.NoError(t, err)
	require.Len(t, v.Differences, 1)
	require.Contains(t, v.Differences[0], "windows-00000.jsonl")
}

func TestAPlaceThatIsNoBucket(t *testing.T) {
	t.Parallel()
	gw, run := ended(t, nil)
	for _, dir := range []string{"s3://", "gs:///x", "s3://b?secret=x"} {
		_, err := Export{Gateway: gw, Format: "csv", Dir: dir}.Run(t.Context(), run)
		require.ErrorContains(t, err, "opening place of export", dir)
	}
}
