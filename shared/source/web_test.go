package source_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/source"
)

// web is an HTTPS host with files below /music/, and what was asked of it.
type web struct {
	*httptest.Server
	*source.Sources
	mu    sync.Mutex
	asked []string
}

func startWeb(t *testing.T, params string, answer http.HandlerFunc) *web {
	t.Helper()
	w := &web{}
	w.Server = httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.asked = append(w.asked, r.URL.RequestURI()+" "+r.Header.Get("Range"))
		w.mu.Unlock()
		answer(rw, r)
	}))
	t.Cleanup(w.Close)
	roots := x509.NewCertPool()
	roots.AddCert(w.Certificate())
	var err error
	w.Sources, err = source.NewTrusting([]string{w.URL + "/music" + params}, roots)
	require.NoError(t, err)
	return w
}

func (w *web) requests() (asked []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked, w.asked = w.asked, nil
	return asked
}

const private = "?private=true"

// TestAWebHostIsReadByRanges: all of a file at once, and parts of it in blocks, for readers of headers.
func TestAWebHostIsReadByRanges(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	w := startWeb(t, private, func(rw http.ResponseWriter, r *http.Request) {
		http.ServeContent(rw, r, "", time.Unix(1_700_000_000, 0), bytes.NewReader(data))
	})
	o, err := w.Open(t.Context(), w.URL+"/music/a%20b.mp3?sig=x%2Fy")
	require.NoError(t, err)
	require.EqualValues(t, len(data), o.Bytes)
	part := make([]byte, 100)
	for _, at := range []int64{0, 50, 65_500, 3, 4, int64(len(data)) - 100} {
		n, err := o.ReadAt(part, at)
		require.NoError(t, err)
		require.Equal(t, string(data[at:at+100]), string(part[:n]))
	}
	n, err := o.ReadAt(part, int64(len(data))-7)
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, 7, n)
	all, err := io.ReadAll(o)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, all))
	require.NoError(t, o.Close())
	require.Equal(t, []string{
		"/music/a%20b.mp3?sig=x%2Fy ", "/music/a%20b.mp3?sig=x%2Fy bytes=0-65535", "/music/a%20b.mp3?sig=x%2Fy bytes=65536-131071",
		"/music/a%20b.mp3?sig=x%2Fy bytes=0-65535", "/music/a%20b.mp3?sig=x%2Fy bytes=262144-319999",
	}, w.requests())
}

func TestAWebHostWithoutRangesIsCopiedForReadersOfHeaders(t *testing.T) {
	t.Parallel()
	w := startWeb(t, private, func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(bytes.Repeat([]byte("abc"), 100)) })
	o, err := w.Open(t.Context(), w.URL+"/music/a.mp3")
	require.NoError(t, err)
	part := make([]byte, 3)
	for _, at := range []int64{297, 0, 150} {
		_, err := o.ReadAt(part, at)
		require.NoError(t, err)
		require.Equal(t, "abc", string(part))
	}
	require.NoError(t, o.Close())
	require.Len(t, w.requests(), 2, "one to open, one to copy")
}

// TestAChangedFileIsNoticed: parts of two files are not taken for one.
func TestAChangedFileIsNoticed(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(h http.Header) (body string){
		"tag": func(h http.Header) string { h.Set("ETag", `"2"`); return "0123456789" },
		"time": func(h http.Header) string {
			h.Set("Last-Modified", "Tue, 01 Jan 2030 00:00:00 GMT")
			return "0123456789"
		},
		"longer":         func(http.Header) string { return "0123456789x" },
		"shorter":        func(http.Header) string { return "012345" },
		"without ranges": func(h http.Header) string { h.Set("X-Whole", "1"); return "012345" },
	} {
		changed := false
		w := startWeb(t, private, func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("ETag", `"1"`)
			rw.Header().Set("Last-Modified", "Tue, 01 Jan 2019 00:00:00 GMT")
			body := "0123456789"
			if changed {
				body = change(rw.Header())
			}
			if rw.Header().Get("X-Whole") != "" {
				r.Header.Del("Range")
			}
			http.ServeContent(rw, r, "", time.Time{}, strings.NewReader(body))
		})
		o, err := w.Open(t.Context(), w.URL+"/music/a.mp3")
		require.NoError(t, err)
		changed = true
		_, err = o.ReadAt(make([]byte, 4), 2)
		require.ErrorIs(t, err, source.ErrChanged, name)
		require.Equal(t, event.CodeSourceChanged, source.Code(err))
		require.NoError(t, o.Close())
	}
}

// TestAnswersOfAWebHost: each has its reason, and only what may pass is waited for.
func TestAnswersOfAWebHost(t *testing.T) {
	t.Parallel()
	w := startWeb(t, private, func(rw http.ResponseWriter, r *http.Request) {
		var status int
		switch path := strings.TrimPrefix(r.URL.Path, "/music/"); path {
		case "endless":
			_ = http.NewResponseController(rw).Flush()
			_, _ = rw.Write([]byte("x"))
		case "gzip":
			rw.Header().Set("Content-Encoding", "gzip")
			_, _ = rw.Write([]byte("x"))
		case "breaks":
			rw.Header().Set("Content-Length", "100")
			_, _ = rw.Write([]byte("x"))
		default:
			_, _ = fmt.Sscan(path, &status)
			rw.WriteHeader(status)
		}
	})
	for name, want := range map[string]error{
		"404": source.ErrMissing, "410": source.ErrMissing, "401": source.ErrDenied, "403": source.ErrDenied, "451": source.ErrDenied,
		"400": source.ErrUnreadable, "418": source.ErrUnreadable, "500": source.ErrUnreadable, "204": source.ErrUnreadable, "206": source.ErrUnreadable, "301": source.ErrUnreadable,
		"429": source.ErrHost, "502": source.ErrHost, "503": source.ErrHost, "504": source.ErrHost, "408": source.ErrHost,
		"endless": source.ErrUnreadable, "gzip": source.ErrUnreadable, "folder/": source.ErrNotFile,
	} {
		_, err := w.Open(t.Context(), w.URL+"/music/"+name)
		require.ErrorIs(t, err, want, name)
		require.Equal(t, errors.Is(want, source.ErrHost), source.Code(err) == "", name)
	}
	o, err := w.Open(t.Context(), w.URL+"/music/breaks")
	require.NoError(t, err)
	_, err = io.ReadAll(o)
	require.ErrorIs(t, err, source.ErrUnavailable)
	require.NoError(t, o.Close())
	require.Error(t, w.Walk(t.Context(), w.URL+"/music/", func(source.Entry) error { return nil }))
	w.Close()
	_, err = w.Open(t.Context(), w.URL+"/music/a")
	require.ErrorIs(t, err, source.ErrHost)
}

// TestNothingLeadsOutOfAWebHost: neither by the URL, nor by a redirect, nor by an address of the network that we are in.
func TestNothingLeadsOutOfAWebHost(t *testing.T) {
	t.Parallel()
	inside := startWeb(t, private, func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte("secret")) })
	to := ""
	w := startWeb(t, private, func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/music/moved":
			http.Redirect(rw, r, to, http.StatusFound)
		case "/music/there":
			_, _ = rw.Write([]byte("good"))
		default:
			_, _ = rw.Write([]byte("secret"))
		}
	})
	for _, path := range []string{
		"/secret", "/music", "/musicbox/a", "/music/../secret", "/music/%2e%2e/secret", "/music/%2E./secret", "/music/..%2fsecret", "/music/a%2Fb", "/music/..%5csecret", "/music//a",
		"/music/./a", "/music/a#b", "/music/%00", "",
	} {
		_, err := w.Open(t.Context(), w.URL+path)
		require.ErrorIs(t, err, source.ErrNotAllowed, path)
	}
	host := strings.TrimPrefix(w.URL, "https://")
	for _, uri := range []string{"http://" + host + "/music/a", "https://user:pw@" + host + "/music/a", "https://127.0.0.2/music/a", inside.URL + "/music/a", "https:///music/a"} {
		_, err := w.Open(t.Context(), uri)
		require.ErrorIs(t, err, source.ErrNotAllowed, uri)
		require.NotContains(t, err.Error(), "pw")
	}
	require.Empty(t, w.requests())
	for _, leads := range []string{
		"/secret", "/music/../secret", "http://" + host + "/music/there", "https://127.0.0.2/x", "https://[::1]/x", "https://169.254.169.254/latest/meta-data", "https://localhost/x",
	} {
		to = leads
		_, err := w.Open(t.Context(), w.URL+"/music/moved")
		require.Error(t, err, leads)
		if leads != "https://localhost/x" { // which may have no name here
			require.ErrorIs(t, err, source.ErrNotAllowed, leads)
		}
	}
	to = "/music/there"
	got, err := read(t, w.Sources, w.URL+"/music/moved")
	require.NoError(t, err)
	require.Equal(t, "good", got)
	to = "/music/moved"
	_, err = w.Open(t.Context(), w.URL+"/music/moved")
	require.ErrorIs(t, err, source.ErrUnreadable, "a loop of redirects")

	guarded := startWeb(t, "", func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte("secret")) })
	_, err = guarded.Open(t.Context(), guarded.URL+"/music/a")
	require.ErrorIs(t, err, source.ErrNotAllowed, "a host in our own network needs the operator's word")
	require.Empty(t, guarded.requests())
	require.Empty(t, inside.requests())
}

func TestCertificatesOfWebHostsAreChecked(t *testing.T) {
	t.Parallel()
	w := startWeb(t, private, func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte("x")) })
	s, err := source.New([]string{w.URL + "/music?private=true"})
	require.NoError(t, err)
	_, err = s.Open(t.Context(), w.URL+"/music/a")
	require.ErrorIs(t, err, source.ErrUnavailable)
	require.ErrorContains(t, err, "certificate is not trusted")
	require.Empty(t, w.requests())
}
