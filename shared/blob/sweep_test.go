package blob_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/blob"
)

// day is when the swept objects were written, an hour apart in the order given.
var day = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// filled returns a file store with objects of 100 bytes.
func filled(t *testing.T, keys ...string) (*blob.Store, string) {
	t.Helper()
	dir := t.TempDir()
	store, err := blob.Open(t.Context(), "file://"+dir)
	require.NoError(t, err)
	for i, k := range keys {
		require.NoError(t, store.PutBytes(t.Context(), k, make([]byte, 100)))
		at := day.Add(time.Duration(i) * time.Hour)
		require.NoError(t, os.Chtimes(filepath.Join(dir, k), at, at))
	}
	return store, dir
}

func left(t *testing.T, store *blob.Store, keys ...string) []string {
	t.Helper()
	var out []string
	for _, k := range keys {
		ok, err := store.Exists(t.Context(), k)
		require.NoError(t, err)
		if ok {
			out = append(out, k)
		}
	}
	return out
}

var mixed = []string{"emb/v1/old", "prompt/v1/p1", "audio/a1", "pcm/v1/w1", "audio/a2", "plan/v1/p", "pcm/v1/w2", "emb/v1/new", "other/x"}

func TestSweepOrder(t *testing.T) {
	t.Parallel()
	for bytes, want := range map[int64][]string{
		0:    mixed, // no limit
		900:  mixed,
		899:  {"emb/v1/old", "prompt/v1/p1", "pcm/v1/w1", "audio/a2", "plan/v1/p", "pcm/v1/w2", "emb/v1/new", "other/x"},
		600:  {"emb/v1/old", "prompt/v1/p1", "plan/v1/p", "pcm/v1/w2", "emb/v1/new", "other/x"},
		400:  {"emb/v1/old", "plan/v1/p", "emb/v1/new", "other/x"},
		250:  {"emb/v1/new", "other/x"},
		1:    {"other/x"},
		-100: {"other/x"},
	} {
		store, _ := filled(t, mixed...)
		swept, err := blob.Sweep(t.Context(), store, blob.Budget{Bytes: bytes})
		require.NoError(t, err)
		require.Equal(t, want, left(t, store, mixed...), "%d bytes", bytes)
		gone := len(mixed) - len(want)
		require.Equal(t, blob.Swept{Objects: 9, Bytes: 900, Removed: gone, RemovedBytes: int64(gone) * 100}, swept)
	}
}

func TestSweepOfOnePrefix(t *testing.T) {
	t.Parallel()
	store, _ := filled(t, mixed...)
	_, err := blob.Sweep(t.Context(), store, blob.Budget{Prefixes: map[string]int64{"emb/": 100, "audio/": 1000}})
	require.NoError(t, err)
	require.Equal(t, slices.Delete(slices.Clone(mixed), 0, 1), left(t, store, mixed...))
}

func TestSweepSparesTheYoung(t *testing.T) {
	t.Parallel()
	store, _ := filled(t, "pcm/v1/a", "pcm/v1/b", "pcm/v1/c")
	swept, err := blob.Sweep(t.Context(), store, blob.Budget{Bytes: 1, Now: day.Add(3 * time.Hour), KeepYounger: 2 * time.Hour})
	require.NoError(t, err)
	require.Equal(t, 2, swept.Removed)
	require.Equal(t, []string{"pcm/v1/c"}, left(t, store, "pcm/v1/a", "pcm/v1/b", "pcm/v1/c"))
}

func TestSweepSparesWhatIsKept(t *testing.T) {
	t.Parallel()
	store, _ := filled(t, "audio/a", "audio/b", "audio/c")
	swept, err := blob.Sweep(t.Context(), store, blob.Budget{Bytes: 1, Keep: func(key string) bool { return key == "audio/a" }})
	require.NoError(t, err)
	require.Equal(t, 2, swept.Removed)
	require.Equal(t, []string{"audio/a"}, left(t, store, "audio/a", "audio/b", "audio/c"))
}

// TestSweepLooksAgain: between the listing and the deletion one object is touched, one is written again, one is taken into use by a job.
func TestSweepLooksAgain(t *testing.T) {
	t.Parallel()
	keys := []string{"audio/touched", "audio/used", "audio/written", "audio/unused", "audio/z"}
	store, _ := filled(t, keys...)
	used := false
	listed := 0
	keep := func(key string) bool {
		if listed++; listed == len(keys) { // the listing is complete, nothing is deleted yet
			_, err := store.Touch(t.Context(), "audio/touched")
			require.NoError(t, err)
			require.NoError(t, store.PutBytes(t.Context(), "audio/written", make([]byte, 100)))
			used = true
		}
		return used && key == "audio/used"
	}
	swept, err := blob.Sweep(t.Context(), store, blob.Budget{Bytes: 1, Keep: keep})
	require.NoError(t, err)
	require.Equal(t, 2, swept.Removed)
	require.Equal(t, []string{"audio/touched", "audio/used", "audio/written"}, left(t, store, keys...))
}

func TestTouchMakesYoung(t *testing.T) {
	each(t, func(t *testing.T, store *blob.Store) {
		_, err := store.Touch(t.Context(), "audio/none")
		require.ErrorIs(t, err, blob.ErrNotFound)
		require.NoError(t, store.PutBytes(t.Context(), "audio/a", make([]byte, 10)))
		size, err := store.Touch(t.Context(), "audio/a")
		require.NoError(t, err)
		require.EqualValues(t, 10, size)
		got, err := store.GetBytes(t.Context(), "audio/a", 10)
		require.NoError(t, err)
		require.Len(t, got, 10)
	})
}

func TestSweepTakesLeftoversOfDeadWriters(t *testing.T) {
	t.Parallel()
	store, dir := filled(t, "pcm/v1/a")
	for name, age := range map[string]time.Duration{"dead": 7 * time.Hour, "alive": time.Hour} {
		path := filepath.Join(dir, "pcm/v1", name+".18d3.tmp")
		require.NoError(t, os.WriteFile(path, []byte("half"), 0o600))
		require.NoError(t, os.Chtimes(path, day.Add(-age), day.Add(-age)))
	}
	swept, err := blob.Sweep(t.Context(), store, blob.Budget{Bytes: 1000, Now: day})
	require.NoError(t, err)
	require.Equal(t, blob.Swept{Objects: 1, Bytes: 100}, swept)
	files, err := filepath.Glob(filepath.Join(dir, "pcm/v1/*"))
	require.NoError(t, err)
	require.Len(t, files, 2)
	require.True(t, slices.ContainsFunc(files, func(f string) bool { return strings.Contains(f, "alive") }))
}

func TestSweepEverywhere(t *testing.T) {
	each(t, func(t *testing.T, store *blob.Store) {
		swept, err := blob.Sweep(t.Context(), store, blob.Budget{Bytes: 1})
		require.NoError(t, err)
		require.Zero(t, swept, "an empty store")
		for _, k := range []string{"emb/v1/e", "audio/a", "pcm/v1/w"} {
			require.NoError(t, store.PutBytes(t.Context(), k, make([]byte, 10)))
		}
		swept, err = blob.Sweep(t.Context(), store, blob.Budget{Bytes: 10, Now: time.Now().Add(time.Hour)})
		require.NoError(t, err)
		require.Equal(t, blob.Swept{Objects: 3, Bytes: 30, Removed: 2, RemovedBytes: 20}, swept)
		ok, err := store.Exists(t.Context(), "emb/v1/e")
		require.NoError(t, err)
		require.True(t, ok)
	})
}

// What is made again in a moment is not spared for as long as audio and embeddings are.
func TestDerivedObjectsAreSparedForLess(t *testing.T) {
	t.Parallel()
	keys := []string{"audio/a", "emb/v1/e", "pcm/v1/w", "plan/v3/p", "prompt/v1/p", "pcm/v1/young"}
	store, _ := filled(t, keys...)
	_, err := blob.Sweep(t.Context(), store, blob.Budget{
		Bytes: 1, Now: day.Add(5 * time.Hour), KeepYounger: 24 * time.Hour, KeepDerivedYounger: 30 * time.Minute,
	})
	require.NoError(t, err)
	require.Equal(t, []string{"audio/a", "emb/v1/e", "pcm/v1/young"}, left(t, store, keys...))
}
