package cache_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// server is a real redis-server of one test.
type server struct {
	addr, url string
	process   *exec.Cmd
	client    *redis.Client
}

// startRedis starts redis-server on a free port of the loopback. Without the program the test is
// skipped, unless LARK_REQUIRE_REDIS=1.
func startRedis(t *testing.T) *server {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		require.False(t, requireRedis(), "LARK_REQUIRE_REDIS=1 and redis-server is not installed")
		t.Skip("redis-server is not installed")
	}
	addr := freeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	s := &server{addr: addr, url: "redis://" + addr}
	s.run(t, path, port)
	s.client = redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { require.NoError(t, s.client.Close()) })
	require.NoError(t, s.client.Ping(t.Context()).Err())
	return s
}

// run starts the process and returns when it says that it accepts connections.
func (s *server) run(t *testing.T, path, port string) {
	t.Helper()
	s.process = exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--dir", t.TempDir(), "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lfu")
	out, err := s.process.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.process.Start())
	t.Cleanup(func() {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
	})
	ready := bufio.NewScanner(out)
	for ready.Scan() {
		if strings.Contains(ready.Text(), "eady to accept connections") {
			go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the process
			return
		}
	}
	require.Fail(t, "redis-server did not start")
}

func (s *server) set(t *testing.T, key string, raw []byte) {
	t.Helper()
	require.NoError(t, s.client.Set(t.Context(), key, raw, time.Hour).Err())
}

func (s *server) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	require.NoError(t, s.process.Process.Signal(sig))
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}
