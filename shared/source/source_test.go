package source_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/source"
)

func read(t *testing.T, s *source.Sources, uri string) (string, error) {
	t.Helper()
	o, err := s.Open(t.Context(), uri)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(o)
	require.NoError(t, err)
	part := make([]byte, 2)
	n, err := o.ReadAt(part, o.Bytes-1)
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, string(text[len(text)-1:]), string(part[:n]))
	require.NoError(t, o.Close())
	require.EqualValues(t, len(text), o.Bytes)
	return string(text), nil
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// house is a folder with an allowed part "music" and a neighbour that is not.
func house(t *testing.T) (dir, music string, s *source.Sources) {
	t.Helper()
	dir = t.TempDir()
	music = filepath.Join(dir, "music")
	write(t, filepath.Join(music, "a.flac"), "aaa")
	write(t, filepath.Join(music, "below", "ü ?#%\xff.mp3"), "b")
	write(t, filepath.Join(music, ".hidden", "c.mp3"), "c")
	write(t, filepath.Join(dir, "musicbox", "d.mp3"), "d")
	write(t, filepath.Join(dir, "secret"), "secret")
	s, err := source.New([]string{music})
	require.NoError(t, err)
	return dir, music, s
}

func TestFilesAreReadWhereTheyLie(t *testing.T) {
	t.Parallel()
	_, music, s := house(t)
	for name, want := range map[string]string{"a.flac": "aaa", "below/ü ?#%\xff.mp3": "b"} {
		got, err := read(t, s, source.FileURI(filepath.Join(music, name)))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	var found []string
	require.NoError(t, s.Walk(t.Context(), source.FileURI(music), func(e source.Entry) error {
		found = append(found, strings.TrimPrefix(e.URI, source.FileURI(music)))
		require.Positive(t, e.Bytes)
		require.False(t, e.Modified.IsZero())
		return nil
	}))
	require.Equal(t, []string{"/a.flac", "/below/%C3%BC%20%3F%23%25%FF.mp3"}, found)
}

func TestNothingLeadsOutOfAPlace(t *testing.T) {
	t.Parallel()
	dir, music, s := house(t)
	require.NoError(t, os.Symlink(filepath.Join(dir, "secret"), filepath.Join(music, "absolute")))
	require.NoError(t, os.Symlink("../secret", filepath.Join(music, "relative")))
	require.NoError(t, os.Symlink("a.flac", filepath.Join(music, "inside")))
	for uri, want := range map[string]error{
		source.FileURI(filepath.Join(dir, "secret")):             source.ErrNotAllowed,
		source.FileURI(filepath.Join(dir, "musicbox", "d.mp3")):  source.ErrNotAllowed,
		source.FileURI(music) + "/../secret":                     source.ErrNotAllowed,
		source.FileURI(music) + "/%2e%2e/secret":                 source.ErrNotAllowed,
		source.FileURI(filepath.Join(music, "absolute")):         source.ErrUnreadable,
		source.FileURI(filepath.Join(music, "relative")):         source.ErrUnreadable,
		"https://example.org/a.mp3":                              source.ErrNotAllowed,
		"s3://bucket/a.mp3":                                      source.ErrNotAllowed,
		filepath.Join(music, "a.flac"):                           source.ErrNotAllowed,
		"file://elsewhere" + music + "/a.flac":                   source.ErrNotAllowed,
		source.FileURI(music) + "/" + strings.Repeat("x/", 2000): source.ErrNotAllowed,
	} {
		_, err := read(t, s, uri)
		require.ErrorIs(t, err, want, uri)
		require.NotContains(t, err.Error(), dir, "places are not told")
	}
	got, err := read(t, s, source.FileURI(filepath.Join(music, "inside")))
	require.NoError(t, err)
	require.Equal(t, "aaa", got)
}

func TestWhatIsNoFileIsSaid(t *testing.T) {
	_, music, s := house(t)
	require.NoError(t, os.Symlink("nowhere", filepath.Join(music, "dangling")))
	require.NoError(t, os.Symlink("loop", filepath.Join(music, "loop")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(music, "pipe"), 0o600))
	t.Chdir(music) // a socket's path is short
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", "socket")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	for name, want := range map[string]error{
		"missing": source.ErrMissing, "dangling": source.ErrMissing, "loop": source.ErrUnreadable, "below": source.ErrNotFile,
		"pipe": source.ErrNotFile, "socket": source.ErrNotFile, strings.Repeat("n", 256): source.ErrUnreadable,
	} {
		_, err := read(t, s, source.FileURI(filepath.Join(music, name)))
		require.ErrorIs(t, err, want, name)
	}
	gone, err := source.New([]string{filepath.Join(music, "unmounted")})
	require.NoError(t, err)
	_, err = read(t, gone, source.FileURI(filepath.Join(music, "unmounted", "a.mp3")))
	require.ErrorIs(t, err, source.ErrUnavailable, "a place that is away is not a missing file")
}

func TestBuckets(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	backend := s3mem.New()
	require.NoError(t, backend.CreateBucket("lib"))
	for _, name := range []string{"rock/a b#1.mp3", "rock/live/c.mp3", "rock/", "rocksteady/d.mp3"} {
		_, err := backend.PutObject("lib", name, map[string]string{"Last-Modified": time.Now().UTC().Format(http.TimeFormat)}, strings.NewReader("x"), 1, &gofakes3.PutConditions{})
		require.NoError(t, err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	params := "?" + url.Values{"endpoint": {server.URL}, "use_path_style": {"true"}, "region": {"us-east-1"}}.Encode()
	s, err := source.New([]string{"s3://lib/rock" + params, "gs://lib/rock" + params})
	require.NoError(t, err)

	for _, scheme := range []string{"s3", "gs"} {
		got, err := read(t, s, scheme+"://lib/rock/a b#1.mp3")
		require.NoError(t, err)
		require.Equal(t, "x", got)
		for name, want := range map[string]error{
			"lib/rock/none.mp3": source.ErrMissing, "lib/rock/": source.ErrNotFile, "lib/rocksteady/d.mp3": source.ErrNotAllowed,
			"lib/rock": source.ErrNotAllowed, "other/rock/a.mp3": source.ErrNotAllowed,
		} {
			_, err := read(t, s, scheme+"://"+name)
			require.ErrorIs(t, err, want, name)
		}
		var found []string
		require.NoError(t, s.Walk(t.Context(), scheme+"://lib/rock", func(e source.Entry) error {
			found = append(found, e.URI)
			return nil
		}))
		require.Equal(t, []string{scheme + "://lib/rock/a b#1.mp3", scheme + "://lib/rock/live/c.mp3"}, found)
	}
	enough := errors.New("enough")
	require.ErrorIs(t, s.Walk(t.Context(), "s3://lib/rock/", func(source.Entry) error { return enough }), enough)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, s.Walk(ended, "s3://lib/rock/", func(source.Entry) error { return nil }))
	server.Close()
	_, err = read(t, s, "s3://lib/rock/live/c.mp3")
	require.ErrorIs(t, err, source.ErrUnavailable)
}

func TestPlacesAreChecked(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "music", "./music", "http://example.org/", "s3:///key", "file://host/music", "https://", "https://u:p@host/", "https://host/../x", "https://host/?key=x", "https://host/?private=maybe"} {
		_, err := source.New([]string{bad})
		require.Error(t, err, bad)
	}
	none, err := source.New(nil)
	require.NoError(t, err)
	_, err = none.Open(t.Context(), "file:///etc/passwd")
	require.ErrorIs(t, err, source.ErrNotAllowed)
}

func FuzzURI(f *testing.F) {
	for _, seed := range []string{"file:///a/../b", "s3://b/k", "gs://", "file://%2e%2e/", "file:///%00", "s3://b/../../k", "https://h/a", "https://h/%2e%2e/"} {
		f.Add(seed)
	}
	dir := f.TempDir()
	require.NoError(f, os.WriteFile(filepath.Join(dir, "secret"), []byte("s"), 0o600))
	require.NoError(f, os.Mkdir(filepath.Join(dir, "music"), 0o755))
	s, err := source.New([]string{filepath.Join(dir, "music")})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, uri string) {
		if o, err := s.Open(t.Context(), uri); err == nil {
			_ = o.Close()
			t.Fatalf("%q was opened in an empty folder", uri)
		}
	})
}
