package cache_test

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// hang takes connections and never answers.
func hang(t *testing.T) (addr string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var held sync.WaitGroup
	held.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
		}
	})
	t.Cleanup(held.Wait)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l.Addr().String()
}

func onRedis(t *testing.T, url string) cache.Cache {
	t.Helper()
	store, err := blob.Open(t.Context(), "mem://")
	require.NoError(t, err)
	c, err := cache.Open(t.Context(), config.Secret(url), store, cache.Deps{Log: slog.New(slog.DiscardHandler), Metrics: telemetry.NewCacheMetrics()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestARedisThatIsAwayDegrades(t *testing.T) {
	t.Parallel()
	for name, addr := range map[string]string{"refused": freeAddr(t), "hung": hang(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := onRedis(t, "redis://"+addr).(cache.Watched)
			require.NoError(t, c.Degraded(), "nothing is known yet")
			watch(t, c)
			require.Eventually(t, func() bool { return c.Degraded() != nil }, time.Minute, 5*time.Millisecond, "found although nothing is asked of it")
			require.ErrorContains(t, c.Degraded(), "nothing is lost")
		})
	}
}

func TestARedisThatComesBackIsNoticed(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	s.signal(t, syscall.SIGSTOP)
	c := onRedis(t, s.url).(cache.Watched)
	watch(t, c)
	require.Eventually(t, func() bool { return c.Degraded() != nil }, time.Minute, 5*time.Millisecond)
	s.signal(t, syscall.SIGCONT)
	require.Eventually(t, func() bool { return c.Degraded() == nil }, time.Minute, 20*time.Millisecond)
}

// watch runs Watch until the test ends.
func watch(t *testing.T, c cache.Watched) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { _ = c.Watch(ctx) })
	t.Cleanup(func() { cancel(); done.Wait() })
}
