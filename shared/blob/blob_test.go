package blob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/shared/blob"
)

func TestMain(m *testing.M) {
	// The S3 client's credentials, for the fake server.
	for k, v := range map[string]string{"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"} {
		if err := os.Setenv(k, v); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// stores are the implementations that must behave alike.
var stores = map[string]func(t *testing.T) string{
	"mem":  func(*testing.T) string { return "mem://" },
	"file": func(t *testing.T) string { return "file://" + t.TempDir() + "/made/on/demand" },
	"s3": func(t *testing.T) string {
		backend := s3mem.New()
		require.NoError(t, backend.CreateBucket("lark"))
		return "s3://lark?" + serveS3(t, backend)
	},
}

// serveS3 returns the parameters of an s3:// URL that reach the backend.
func serveS3(t *testing.T, backend gofakes3.Backend) string {
	t.Helper()
	server := httptest.NewServer(gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
	t.Cleanup(server.Close)
	return url.Values{"endpoint": {server.URL}, "region": {"us-east-1"}, "use_path_style": {"true"}, "disable_https": {"true"}}.Encode()
}

func each(t *testing.T, test func(t *testing.T, store *blob.Store)) {
	t.Helper()
	t.Parallel()
	for name, url := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := blob.Open(t.Context(), url(t))
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, store.Close()) })
			test(t, store)
		})
	}
}

const key = "emb/v1/nano-v0@0123456789abcdef+aa/f16/aaaabbbb"

func TestPutThenGet(t *testing.T) {
	each(t, func(t *testing.T, store *blob.Store) {
		data := bytes.Repeat([]byte("lark"), 300_000)
		n, err := store.Put(t.Context(), key, bytes.NewReader(data), 2<<20)
		require.NoError(t, err)
		require.EqualValues(t, len(data), n)

		got, err := store.GetBytes(t.Context(), key, int64(len(data)))
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got))
		size, err := store.Size(t.Context(), key)
		require.NoError(t, err)
		require.EqualValues(t, len(data), size)

		r, err := store.Get(t.Context(), key)
		require.NoError(t, err)
		streamed, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		require.True(t, bytes.Equal(data, streamed))
	})
}

func TestEmptyObjectExists(t *testing.T) {
	each(t, func(t *testing.T, store *blob.Store) {
		require.NoError(t, store.PutBytes(t.Context(), key, nil))
		ok, err := store.Exists(t.Context(), key)
		require.NoError(t, err)
		require.True(t, ok)
		got, err := store.GetBytes(t.Context(), key, 0)
		require.NoError(t, err)
		require.Empty(t, got)
	})
}

func TestHead(t *testing.T) {
	each(t, func(t *testing.T, s *blob.Store) {
		require.NoError(t, s.PutBytes(t.Context(), "emb/v1/long", []byte(strings.Repeat("abcdefgh", 50_000))))
		require.NoError(t, s.PutBytes(t.Context(), "emb/v1/short", []byte("abc")))
		require.NoError(t, s.PutBytes(t.Context(), "emb/v1/empty", nil))
		for key, want := range map[string]struct {
			head string
			size int64
		}{"emb/v1/long": {"abcde", 400_000}, "emb/v1/short": {"abc", 3}, "emb/v1/empty": {"", 0}} {
			head, size, err := s.GetHead(t.Context(), key, 5)
			require.NoError(t, err, key)
			require.Equal(t, want.head, string(head))
			require.Equal(t, want.size, size)
		}
		_, _, err := s.GetHead(t.Context(), "emb/v1/none", 5)
		require.ErrorIs(t, err, blob.ErrNotFound)
		_, _, err = s.GetHead(t.Context(), "../x", 5)
		require.ErrorIs(t, err, blob.ErrBadKey)
	})
}

func TestMissingObject(t *testing.T) {
	each(t, func(t *testing.T, store *blob.Store) {
		ok, err := store.Exists(t.Context(), key)
		require.NoError(t, err)
		require.False(t, ok)
		_, err = store.Get(t.Context(), key)
		require.ErrorIs(t, err, blob.ErrNotFound)
		_, err = store.GetBytes(t.Context(), key, 10)
		require.ErrorIs(t, err, blob.ErrNotFound)
		_, err = store.Size(t.Context(), key)
		require.ErrorIs(t, err, blob.ErrNotFound)
		_, cleanup, err := store.LocalFile(t.Context(), key)
		require.ErrorIs(t, err, blob.ErrNotFound)
		cleanup()
		require.NoError(t, store.Delete(t.Context(), key), "deleting what is not there")
	})
}

func TestDelete(t *testing.T) {
	each(t, func(t *testing.T, store *blob.Store) {
		require.NoError(t, store.PutBytes(t.Context(), key, []byte("x")))
		require.NoError(t, store.Delete(t.Context(), key))
		ok, err := store.Exists(t.Context(), key)
		require.NoError(t, err)
		require.False(t, ok)
	})
}

func TestPutReplaces(t *testing.T) {
	each(t, func(t *testing.T, store *blob.Store) {
		require.NoError(t, store.PutBytes(t.Context(), key, []byte("old and longer")))
		require.NoError(t, store.PutBytes(t.Context(), key, []byte("new")))
		got, err := store.GetBytes(t.Context(), key, 100)
		require.NoError(t, err)
		require.Equal(t, "new", string(got))
	})
}

func TestFailedPutLeavesTheOldObject(t *testing.T) {
	broken := errors.New("connection reset")
	cancelled := func(t *testing.T) context.Context {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		return ctx
	}
	for name, put := range map[string]func(t *testing.T, s *blob.Store, key string) error{
		"reader fails": func(t *testing.T, s *blob.Store, key string) error {
			_, err := s.Put(t.Context(), key, io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)), 100)
			require.ErrorIs(t, err, broken)
			return err
		},
		"too large": func(t *testing.T, s *blob.Store, key string) error {
			_, err := s.Put(t.Context(), key, strings.NewReader("four5"), 4)
			require.ErrorIs(t, err, blob.ErrTooLarge)
			return err
		},
		"cancelled": func(t *testing.T, s *blob.Store, key string) error {
			_, err := s.Put(cancelled(t), key, strings.NewReader("late"), 100)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, store *blob.Store) {
				require.Error(t, put(t, store, "audio/fresh"))
				ok, err := store.Exists(t.Context(), "audio/fresh")
				require.NoError(t, err)
				require.False(t, ok)

				require.NoError(t, store.PutBytes(t.Context(), "audio/kept", []byte("old")))
				require.Error(t, put(t, store, "audio/kept"))
				got, err := store.GetBytes(t.Context(), "audio/kept", 100)
				require.NoError(t, err)
				require.Equal(t, "old", string(got))
			})
		})
	}
}

func TestReadLimit(t *testing.T) {
	each(t, func(t *testing.T, store *blob.Store) {
		require.NoError(t, store.PutBytes(t.Context(), key, []byte("12345")))
		_, err := store.GetBytes(t.Context(), key, 4)
		require.ErrorIs(t, err, blob.ErrTooLarge)
	})
}

func TestLocalFile(t *testing.T) {
	each(t, func(t *testing.T, store *blob.Store) {
		require.NoError(t, store.PutBytes(t.Context(), "audio/abc", []byte("music")))
		path, cleanup, err := store.LocalFile(t.Context(), "audio/abc")
		require.NoError(t, err)
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "music", string(got))
		cleanup()
		ok, err := store.Exists(t.Context(), "audio/abc")
		require.NoError(t, err)
		require.True(t, ok, "cleanup takes copies only")
	})
}

func TestBadKeysAreRefusedEverywhere(t *testing.T) {
	each(t, func(t *testing.T, store *blob.Store) {
		for _, bad := range []string{
			"", "/", "/etc/passwd", "a/", "a//b", "..", "../a", "a/../../b", "./a", "a/.", "A", "a b", "a\x00", "a\\b", "é",
			".hidden", "a/.hidden", "x.tmp", "x.attrs", strings.Repeat("a", 201), strings.Repeat("a/", 300) + "a",
		} {
			_, err := store.Put(t.Context(), bad, strings.NewReader("x"), 1)
			require.ErrorIs(t, err, blob.ErrBadKey, "%q", bad)
			_, err = store.Get(t.Context(), bad)
			require.ErrorIs(t, err, blob.ErrBadKey)
			_, err = store.GetBytes(t.Context(), bad, 1)
			require.ErrorIs(t, err, blob.ErrBadKey)
			_, err = store.Exists(t.Context(), bad)
			require.ErrorIs(t, err, blob.ErrBadKey)
			_, err = store.Size(t.Context(), bad)
			require.ErrorIs(t, err, blob.ErrBadKey)
			require.ErrorIs(t, store.Delete(t.Context(), bad), blob.ErrBadKey)
			_, _, err = store.LocalFile(t.Context(), bad)
			require.ErrorIs(t, err, blob.ErrBadKey)
		}
	})
}

func TestWritersOfOneKeyNeverMix(t *testing.T) {
	each(t, func(t *testing.T, store *blob.Store) {
		var wg sync.WaitGroup
		errs := make(chan error, 200)
		for w := range 4 {
			wg.Go(func() {
				for range 10 {
					errs <- store.PutBytes(t.Context(), key, bytes.Repeat([]byte{byte('a' + w)}, 50_000))
				}
			})
			wg.Go(func() {
				for range 10 {
					got, err := store.GetBytes(t.Context(), key, 50_000)
					if err == nil && len(bytes.Trim(got, string(got[:1]))) > 0 {
						err = errors.New("two writers' bytes in one object")
					}
					if !errors.Is(err, blob.ErrNotFound) {
						errs <- err
					}
				}
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			require.NoError(t, err)
		}
	})
}

// A file store must hold nothing but objects: no sidecars, no leftovers of failed writers.
func TestFileStoreHoldsOnlyObjects(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := blob.Open(t.Context(), "file://"+dir)
	require.NoError(t, err)
	require.NoError(t, store.PutBytes(t.Context(), "audio/one", []byte("1")))
	_, err = store.Put(t.Context(), "audio/two", iotest.ErrReader(errors.New("broken")), 10)
	require.Error(t, err)
	_, err = store.Put(t.Context(), "audio/three", strings.NewReader("large"), 1)
	require.Error(t, err)
	var files []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, d.Name())
		}
		return err
	}))
	require.Equal(t, []string{"one"}, files)
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "data", "ftp://x/y", "file://host/dir", "file:///dir?metadata=x", "file://", "://", "s3://b?endpoint=%zz&nope=1"} {
		_, err := blob.Open(t.Context(), bad)
		require.ErrorContains(t, err, "opening object store", bad)
	}
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := blob.Open(t.Context(), "file://"+file)
	require.ErrorContains(t, err, "not a directory")
	_, err = blob.Open(t.Context(), "s3://user:hunter2@b\x7f")
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestOpenRelativeFolder(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	store, err := blob.Open(t.Context(), "file://./data/blobs")
	require.NoError(t, err)
	require.NoError(t, store.PutBytes(t.Context(), "pcm/v1/a", []byte("x")))
	require.FileExists(t, filepath.Join(dir, "data/blobs/pcm/v1/a"))
}

func ExampleOpen() {
	store, err := blob.Open(context.Background(), "mem://")
	if err != nil {
		panic(err)
	}
	defer func() { _ = store.Close() }()
	if err := store.PutBytes(context.Background(), "audio/0a1b", []byte("music")); err != nil {
		panic(err)
	}
	data, err := store.GetBytes(context.Background(), "audio/0a1b", 100)
	fmt.Println(string(data), err)
	// Output: music <nil>
}

func FuzzCheckKey(f *testing.F) {
	for _, k := range []string{key, "audio/abc", "../x", "a/./b", "a/..b", "..."} {
		f.Add(k)
	}
	f.Fuzz(func(t *testing.T, k string) {
		if blob.CheckKey(k) != nil {
			return
		}
		require.Equal(t, k, filepath.ToSlash(filepath.Clean(k)), "a good key is a clean path")
		require.True(t, filepath.IsLocal(k))
	})
}

// A stage waits for a store that is down; it must not take a missing or damaged object for that, nor the fault of who writes.
func TestOnlyFaultsOfTheStoreSayThatItIsDown(t *testing.T) {
	t.Parallel()
	down := func(err error) bool {
		var u interface{ Unavailable() bool }
		return errors.As(err, &u) && u.Unavailable()
	}
	dir := t.TempDir()
	s, err := blob.Open(t.Context(), "file://"+dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	_, err = s.GetBytes(t.Context(), "pcm/v1/x", 1)
	require.ErrorIs(t, err, blob.ErrNotFound)
	require.False(t, down(err))
	require.NoError(t, s.PutBytes(t.Context(), "pcm/v1/x", []byte("large")))
	_, err = s.GetBytes(t.Context(), "pcm/v1/x", 1)
	require.ErrorIs(t, err, blob.ErrTooLarge)
	require.False(t, down(err))
	_, err = s.Put(t.Context(), "pcm/v1/y", iotest.ErrReader(errors.New("the sender left")), 10)
	require.ErrorContains(t, err, "the sender left")
	require.False(t, down(err))

	require.NoError(t, os.WriteFile(filepath.Join(dir, "emb"), nil, 0o600)) // a file where a folder is needed
	err = s.PutBytes(t.Context(), "emb/v1/x", []byte("x"))
	require.Error(t, err)
	require.True(t, down(err))
}
