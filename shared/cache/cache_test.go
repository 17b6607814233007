package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func deps() cache.Deps {
	return cache.Deps{Log: slog.New(slog.DiscardHandler), Metrics: telemetry.NewCacheMetrics(), DType: cache.F32, TTL: cache.DefaultTTL}
}

func openStore(t *testing.T, url string) *blob.Store {
	t.Helper()
	store, err := blob.Open(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

func openRedis(t *testing.T, url string) cache.Cache {
	t.Helper()
	c, err := cache.NewRedis(config.Secret(url), cache.DefaultTTL, cache.F32, deps())
	require.NoError(t, err)
	return c
}

// caches are the implementations that must behave alike. spoil puts bytes under a key that are no tensor.
var caches = map[string]func(t *testing.T) (c cache.Cache, spoil func(key string, raw []byte)){
	"blob in memory": func(t *testing.T) (cache.Cache, func(string, []byte)) { return blobCache(t, "mem://") },
	"blob in files":  func(t *testing.T) (cache.Cache, func(string, []byte)) { return blobCache(t, "file://"+t.TempDir()) },
	"miniredis": func(t *testing.T) (cache.Cache, func(string, []byte)) {
		server := miniredis.RunT(t)
		return openRedis(t, "redis://"+server.Addr()), func(key string, raw []byte) {
			require.NoError(t, server.Set("lark:"+key, string(raw)))
		}
	},
	"redis-server": func(t *testing.T) (cache.Cache, func(string, []byte)) {
		server := startRedis(t)
		return openRedis(t, server.url), func(key string, raw []byte) { server.set(t, "lark:"+key, raw) }
	},
	"tiered": func(t *testing.T) (cache.Cache, func(string, []byte)) {
		server, store := miniredis.RunT(t), openStore(t, "mem://")
		c, err := cache.Open(t.Context(), config.Secret("redis://"+server.Addr()), store, deps())
		require.NoError(t, err)
		return c, func(key string, raw []byte) {
			require.NoError(t, server.Set("lark:"+key, string(raw)))
			require.NoError(t, store.PutBytes(t.Context(), key, raw))
		}
	},
}

func blobCache(t *testing.T, url string) (cache.Cache, func(string, []byte)) {
	store := openStore(t, url)
	return cache.NewBlob(store, cache.F32), func(key string, raw []byte) {
		require.NoError(t, store.PutBytes(t.Context(), key, raw))
	}
}

func each(t *testing.T, test func(t *testing.T, c cache.Cache, spoil func(string, []byte))) {
	t.Helper()
	t.Parallel()
	for name, open := range caches {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, spoil := open(t)
			t.Cleanup(func() { require.NoError(t, c.Close()) })
			test(t, c, spoil)
		})
	}
}

const key = "emb/v1/nano-v0@0123456789abcdef/f16/aaaabbbb"

// ramp is a tensor with a different value in each place.
func ramp(rows, cols int) tensor.Matrix {
	t := tensor.Matrix{Rows: rows, Cols: cols, Data: make([]float32, rows*cols)}
	for i := range t.Data {
		t.Data[i] = float32(i)/8 - 3
	}
	return t
}

func TestPutThenGet(t *testing.T) {
	each(t, func(t *testing.T, c cache.Cache, _ func(string, []byte)) {
		want := ramp(250, 512)
		want.Data[0], want.Data[1] = -math.MaxFloat32, math.MaxFloat32
		require.NoError(t, c.Put(t.Context(), key, want))
		got, err := c.Get(t.Context(), key, cache.Shape{})
		require.NoError(t, err)
		require.Equal(t, want, got)

		got.Data[5] = 99 // the caller's own
		again, err := c.Get(t.Context(), key, cache.Shape{})
		require.NoError(t, err)
		require.Equal(t, want, again)
		ok, err := has(t.Context(), c, key)
		require.NoError(t, err)
		require.True(t, ok)
	})
}

func TestMiss(t *testing.T) {
	each(t, func(t *testing.T, c cache.Cache, _ func(string, []byte)) {
		_, err := c.Get(t.Context(), key, cache.Shape{})
		require.ErrorIs(t, err, cache.ErrMiss)
		ok, err := has(t.Context(), c, key)
		require.NoError(t, err)
		require.False(t, ok)
	})
}

func TestPutReplaces(t *testing.T) {
	each(t, func(t *testing.T, c cache.Cache, _ func(string, []byte)) {
		require.NoError(t, c.Put(t.Context(), key, ramp(3, 4)))
		require.NoError(t, c.Put(t.Context(), key, ramp(2, 2)))
		got, err := c.Get(t.Context(), key, cache.Shape{})
		require.NoError(t, err)
		require.Equal(t, ramp(2, 2), got)
	})
}

func TestBadTensorIsRefused(t *testing.T) {
	each(t, func(t *testing.T, c cache.Cache, _ func(string, []byte)) {
		for _, bad := range []tensor.Matrix{{}, {Rows: 1, Cols: 2, Data: []float32{1}}, {Rows: -1, Cols: -1, Data: []float32{1}}, {Rows: 1, Data: nil}} {
			require.ErrorContains(t, c.Put(t.Context(), key, bad), "encoding tensor")
		}
		_, err := c.Get(t.Context(), key, cache.Shape{})
		require.ErrorIs(t, err, cache.ErrMiss)
	})
}

func TestBadKeyIsRefused(t *testing.T) {
	each(t, func(t *testing.T, c cache.Cache, _ func(string, []byte)) {
		for _, bad := range []string{"", "../x", "a b", "a\nb"} {
			require.ErrorIs(t, c.Put(t.Context(), bad, ramp(1, 1)), blob.ErrBadKey)
			_, err := c.Get(t.Context(), bad, cache.Shape{})
			require.ErrorIs(t, err, blob.ErrBadKey)
			_, err = has(t.Context(), c, bad)
			require.ErrorIs(t, err, blob.ErrBadKey)
		}
	})
}

// A value that cannot be read must be a miss in Get and then in Has too: a stage that trusts Has would
// otherwise send the window round for ever.
func TestSpoiltValueIsAMissAndGoes(t *testing.T) {
	each(t, func(t *testing.T, c cache.Cache, spoil func(string, []byte)) {
		good, err := cache.Encode(key, ramp(10, 10), cache.F32, cache.Plain)
		require.NoError(t, err)
		flipped := bytes.Clone(good)
		flipped[100] ^= 1
		for name, raw := range map[string][]byte{"empty": {}, "text": []byte("hello"), "cut": good[:50], "flipped bit": flipped, "longer": append(bytes.Clone(good), 0)} {
			spoil(key, raw)
			_, err := c.Get(t.Context(), key, cache.Shape{})
			require.ErrorIs(t, err, cache.ErrMiss, name)
			ok, err := has(t.Context(), c, key)
			require.NoError(t, err)
			require.False(t, ok, name)
			require.NoError(t, c.Put(t.Context(), key, ramp(2, 3)))
			got, err := c.Get(t.Context(), key, cache.Shape{})
			require.NoError(t, err, name)
			require.Equal(t, ramp(2, 3), got)
		}
	})
}

// A value that is whole and nevertheless not what its key promises is a miss and goes.
func TestPoisonedValueIsAMissAndGoes(t *testing.T) {
	each(t, func(t *testing.T, c cache.Cache, spoil func(string, []byte)) {
		nan := ramp(4, 8)
		nan.Data[7] = float32(math.NaN())
		inf := ramp(4, 8)
		inf.Data[31] = float32(math.Inf(1))
		want := cache.Shape{Rows: 4, Cols: 8}
		for name, poison := range map[string]struct {
			key string
			t   tensor.Matrix
			// shown: the head tells already, so that Shape finds it too.
			shown bool
		}{
			"another window's": {key + "b", ramp(4, 8), true}, "no key": {"x", ramp(4, 8), true},
			"more rows": {key, ramp(5, 8), true}, "other columns": {key, ramp(4, 7), true},
			"NaN": {key, nan, false}, "infinity": {key, inf, false},
		} {
			raw, err := cache.Encode(poison.key, poison.t, cache.F32, cache.Zstd)
			require.NoError(t, err)
			if poison.shown {
				spoil(key, raw)
				_, err = c.Shape(t.Context(), key, want)
				require.ErrorIs(t, err, cache.ErrMiss, name)
			}
			spoil(key, raw)
			_, err = c.Get(t.Context(), key, want)
			require.ErrorIs(t, err, cache.ErrMiss, name)
			_, err = c.Shape(t.Context(), key, cache.Shape{})
			require.ErrorIs(t, err, cache.ErrMiss, "%s: it is gone", name)
		}
		require.ErrorContains(t, c.Put(t.Context(), key, nan), "NaN or infinity")
		require.ErrorContains(t, c.Put(t.Context(), key, inf), "NaN or infinity")
	})
}

// Values of the first stored form, which tells no key, stay readable.
func TestOldValuesStayReadable(t *testing.T) {
	each(t, func(t *testing.T, c cache.Cache, spoil func(string, []byte)) {
		spoil(key, oldForm(t, cache.F32))
		shape, err := c.Shape(t.Context(), key, cache.Shape{Cols: 3})
		require.NoError(t, err)
		require.Equal(t, cache.Shape{Rows: 1, Cols: 3}, shape)
		got, err := c.Get(t.Context(), key, cache.Shape{Rows: 1, Cols: 3})
		require.NoError(t, err)
		require.Equal(t, []float32{0, 1, -2.5}, got.Data)
		_, err = c.Get(t.Context(), key, cache.Shape{Cols: 4})
		require.ErrorIs(t, err, cache.ErrMiss)
	})
}

// To learn a shape, the numbers are not read.
func TestShapeReadsTheHeadAlone(t *testing.T) {
	t.Parallel()
	store := openStore(t, "mem://")
	c := cache.NewBlob(store, cache.F32)
	require.NoError(t, c.Put(t.Context(), key, ramp(250, 512)))
	raw, err := store.GetBytes(t.Context(), key, cache.MaxEncoded)
	require.NoError(t, err)
	raw[len(raw)-1] ^= 1
	require.NoError(t, store.PutBytes(t.Context(), key, raw))
	shape, err := c.Shape(t.Context(), key, cache.Shape{})
	require.NoError(t, err, "the last byte is damaged, and nobody looked")
	require.Equal(t, cache.Shape{Rows: 250, Cols: 512}, shape)
	_, err = c.Get(t.Context(), key, cache.Shape{})
	require.ErrorIs(t, err, cache.ErrMiss)
}

// has reports whether the cache knows a tensor's shape.
func has(ctx context.Context, c cache.Cache, key string) (bool, error) {
	_, err := c.Shape(ctx, key, cache.Shape{})
	if errors.Is(err, cache.ErrMiss) {
		return false, nil
	}
	return err == nil, err
}

func TestConcurrentUse(t *testing.T) {
	each(t, func(t *testing.T, c cache.Cache, _ func(string, []byte)) {
		var wg sync.WaitGroup
		errs := make(chan error, 100)
		for g := range 5 {
			wg.Go(func() {
				for i := range 10 {
					k := fmt.Sprintf("emb/v1/%d", (g+i)%4)
					err := c.Put(t.Context(), k, ramp(20, 30))
					if err == nil {
						_, err = c.Get(t.Context(), k, cache.Shape{})
					}
					errs <- err
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

func TestCancelledContext(t *testing.T) {
	each(t, func(t *testing.T, c cache.Cache, _ func(string, []byte)) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, c.Put(ctx, key, ramp(1, 1)), context.Canceled)
		require.NoError(t, c.Put(t.Context(), key, ramp(1, 1)), "the cache still works")
	})
}

func TestOpenWithoutRedisIsBlobsAlone(t *testing.T) {
	t.Parallel()
	store := openStore(t, "mem://")
	d := deps()
	d.DType = 0
	c, err := cache.Open(t.Context(), "", store, d)
	require.NoError(t, err)
	require.NoError(t, c.Put(t.Context(), key, ramp(10, 10)))
	size, err := store.Size(t.Context(), key)
	require.NoError(t, err)
	require.EqualValues(t, 32+len(key)+2*100, size, "plain 16-bit floats by default")
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	store := openStore(t, "mem://")
	_, err := cache.Open(t.Context(), "", nil, deps())
	require.ErrorContains(t, err, "object store")
	_, err = cache.Open(t.Context(), "", store, cache.Deps{})
	require.ErrorContains(t, err, "log and metrics")
	_, err = cache.Open(t.Context(), "http://user:hunter2@h", store, deps())
	require.ErrorContains(t, err, "redis://")
	require.NotContains(t, err.Error(), "hunter2")
}

func requireRedis() bool { return os.Getenv("LARK_REQUIRE_REDIS") == "1" }
