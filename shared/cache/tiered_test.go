package cache_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/config"
)

func TestTieredFillsRedisFromBlobs(t *testing.T) {
	t.Parallel()
	server, store := miniredis.RunT(t), openStore(t, "mem://")
	require.NoError(t, cache.NewBlob(store, cache.F32).Put(t.Context(), key, ramp(4, 4)))
	c := openTiered(t, "redis://"+server.Addr(), store)

	require.False(t, server.Exists("lark:"+key))
	_, err := c.Get(t.Context(), key, cache.Shape{})
	require.NoError(t, err)
	require.True(t, server.Exists("lark:"+key))
	require.Positive(t, server.TTL("lark:"+key))

	require.NoError(t, store.Delete(t.Context(), key))
	got, err := c.Get(t.Context(), key, cache.Shape{})
	require.NoError(t, err, "Redis answers")
	require.Equal(t, ramp(4, 4), got)
	ok, err := has(t.Context(), c, key)
	require.NoError(t, err)
	require.False(t, ok, "but is no proof")
}

func TestTieredSurvivesAFlush(t *testing.T) {
	t.Parallel()
	server, store := miniredis.RunT(t), openStore(t, "mem://")
	c := openTiered(t, "redis://"+server.Addr(), store)
	require.NoError(t, c.Put(t.Context(), key, ramp(4, 4)))
	server.FlushAll()
	got, err := c.Get(t.Context(), key, cache.Shape{})
	require.NoError(t, err)
	require.Equal(t, ramp(4, 4), got)
	require.True(t, server.Exists("lark:"+key), "and is warm again")
}

func TestAHotTierMayStandForRedis(t *testing.T) {
	t.Parallel()
	d, store, hot := deps(), openStore(t, "mem://"), openStore(t, "mem://")
	d.Hot = cache.NewBlob(hot, cache.F32)
	c, err := cache.Open(t.Context(), "redis://127.0.0.1:1", store, d)
	require.NoError(t, err)
	require.NoError(t, c.Put(t.Context(), key, ramp(4, 4)))
	for _, s := range []*blob.Store{store, hot} {
		there, err := s.Exists(t.Context(), key)
		require.NoError(t, err)
		require.True(t, there)
	}
}

func TestTieredWorksWithoutRedis(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func(t *testing.T) string{
		"nobody listens": func(t *testing.T) string { return "redis://" + freeAddr(t) },
		"every command fails": func(t *testing.T) string {
			server := miniredis.RunT(t)
			server.SetError("LOADING Redis is loading the dataset in memory")
			return "redis://" + server.Addr()
		},
		"no such host": func(*testing.T) string { return "redis://redis.invalid:6379" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := openTiered(t, url(t), openStore(t, "mem://"))
			for range 10 {
				require.NoError(t, c.Put(t.Context(), key, ramp(2, 2)))
				got, err := c.Get(t.Context(), key, cache.Shape{})
				require.NoError(t, err)
				require.Equal(t, ramp(2, 2), got)
				ok, err := has(t.Context(), c, key)
				require.NoError(t, err)
				require.True(t, ok)
			}
		})
	}
}

// A real server is frozen, thawed and killed: no call may fail.
func TestTieredWithRealRedisFrozenAndKilled(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	c := openTiered(t, server.url, openStore(t, "file://"+t.TempDir()))
	use := func(what string) {
		t.Helper()
		for range 5 {
			require.NoError(t, c.Put(t.Context(), key, ramp(200, 300)), what)
			got, err := c.Get(t.Context(), key, cache.Shape{})
			require.NoError(t, err, what)
			require.Equal(t, ramp(200, 300), got)
		}
	}
	use("alive")
	require.EqualValues(t, 1, server.client.Exists(t.Context(), "lark:"+key).Val())
	server.signal(t, syscall.SIGSTOP)
	use("frozen")
	server.signal(t, syscall.SIGCONT)
	use("thawed")
	server.signal(t, syscall.SIGKILL)
	use("killed")
}

func openTiered(t *testing.T, url string, store *blob.Store) cache.Cache {
	t.Helper()
	c, err := cache.Open(t.Context(), config.Secret(url), store, deps())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// flaky is a hot tier that fails when told to and counts its calls.
type flaky struct {
	cache.Cache
	calls atomic.Int64
	err   error
	takes time.Duration
	has   bool
}

func (f *flaky) Get(context.Context, string, cache.Shape) (tensor.Matrix, error) {
	f.calls.Add(1)
	if f.takes > 0 {
		<-time.After(f.takes)
	}
	if f.err != nil {
		return tensor.Matrix{}, f.err
	}
	if f.has {
		return ramp(2, 2), nil
	}
	return tensor.Matrix{}, cache.ErrMiss
}

func (f *flaky) Put(context.Context, string, tensor.Matrix) error {
	f.calls.Add(1)
	if f.takes > 0 {
		<-time.After(f.takes)
	}
	return f.err
}

func TestCircuitOpensAndCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var logs bytes.Buffer
		d := deps()
		d.Log = slog.New(slog.NewTextHandler(&logs, nil))
		hot := &flaky{err: errors.New("connection refused")}
		c := cache.NewTiered(hot, cache.NewBlob(openStore(t, "mem://"), cache.F32), d)
		get := func() {
			_, err := c.Get(t.Context(), key, cache.Shape{})
			require.ErrorIs(t, err, cache.ErrMiss, "the truth's word")
		}
		for range 100 {
			get()
		}
		require.EqualValues(t, 3, hot.calls.Load(), "left alone after three errors")
		require.Equal(t, 1, bytes.Count(logs.Bytes(), []byte("\n")), "one line in the log")

		<-time.After(6 * time.Second) // by the bubble's own clock
		get()
		get()
		require.EqualValues(t, 4, hot.calls.Load(), "one call tries again and fails")

		hot.err = nil
		<-time.After(6 * time.Second)
		for range 10 {
			get()
		}
		require.EqualValues(t, 14, hot.calls.Load(), "in use again")
	})
}

func TestASlowTierIsLeftAloneToo(t *testing.T) {
	t.Parallel()
	for name, has := range map[string]bool{"hits": true, "misses": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				truth := cache.NewBlob(openStore(t, "mem://"), cache.F32)
				require.NoError(t, truth.Put(t.Context(), key, ramp(2, 2)))
				hot := &flaky{takes: 900 * time.Millisecond, has: has}
				c := cache.NewTiered(hot, truth, deps())
				for range 20 {
					got, err := c.Get(t.Context(), key, cache.Shape{})
					require.NoError(t, err, "what comes late is used nevertheless")
					require.Equal(t, ramp(2, 2), got)
				}
				require.EqualValues(t, 3, hot.calls.Load())
			})
		})
	}
}

func TestMissesAndCancelledCallsDoNotOpenTheCircuit(t *testing.T) {
	t.Parallel()
	hot := &flaky{}
	c := cache.NewTiered(hot, cache.NewBlob(openStore(t, "mem://"), cache.F32), deps())
	for range 10 {
		_, err := c.Get(t.Context(), key, cache.Shape{})
		require.ErrorIs(t, err, cache.ErrMiss)
	}
	hot.err = context.Canceled
	for range 10 {
		_, err := c.Get(t.Context(), key, cache.Shape{})
		require.ErrorIs(t, err, cache.ErrMiss)
	}
	require.EqualValues(t, 20, hot.calls.Load())
}
