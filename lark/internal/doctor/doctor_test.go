package doctor

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/lark/internal/up"
	"github.com/larkstream/larkstream/shared/kafka"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func setup(t *testing.T, env map[string]string) Config {
	t.Helper()
	return Config{
		Data: up.Folder(filepath.Join(t.TempDir(), "not", "made", "yet")), Addr: "127.0.0.1:0", ModelDir: t.TempDir(),
		Env: func(key string) string { return env[key] },
	}
}

func find(t *testing.T, cfg Config, check string) Finding {
	t.Helper()
	for _, f := range Run(t.Context(), cfg) {
		if f.Check == check {
			require.Equal(t, f.State == OK, f.Remedy == "", "a remedy stands beside what is not ok: %+v", f)
			require.NotEmpty(t, f.Detail)
			return f
		}
	}
	t.Fatalf("no check %q", check)
	return Finding{}
}

func TestEveryCheckReports(t *testing.T) {
	t.Parallel()
	cfg := setup(t, nil)
	for _, check := range []string{"runtime", "kernels", "ffmpeg", "data", "disk", "gateway", "kafka", "redis", "blobs"} {
		require.NotEqual(t, Fail, find(t, cfg, check).State, check)
	}
	f := find(t, cfg, "model")
	require.Equal(t, Fail, f.State)
	require.Contains(t, f.Detail, "holds no model.yaml")
	require.False(t, Healthy(Run(t.Context(), cfg)))
	require.True(t, Healthy([]Finding{{State: OK}, {State: Warn}}))
	require.NoDirExists(t, string(cfg.Data), "looking changes nothing")
}

func TestDamagedModel(t *testing.T) {
	t.Parallel()
	cfg := setup(t, nil)
	require.NoError(t, os.WriteFile(filepath.Join(cfg.ModelDir, "model.yaml"), []byte("format: something/else\n"), 0o600))
	f := find(t, cfg, "model")
	require.Equal(t, Fail, f.State)
	require.Contains(t, f.Detail, "model.yaml")
}

func TestKafkaIsAsked(t *testing.T) {
	t.Parallel()
	broker, err := kafka.StartBroker(kafka.BrokerConfig{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	cfg := setup(t, map[string]string{"KAFKA_BROKERS": broker.Addr()})
	require.Equal(t, OK, find(t, cfg, "kafka").State)
	require.NoError(t, broker.Close())
	require.Equal(t, Fail, find(t, cfg, "kafka").State)
}

// TestKafkaIsReachedAsTheServicesReachIt: with the same variables, and without telling the password.
func TestKafkaIsReachedAsTheServicesReachIt(t *testing.T) {
	t.Parallel()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "lark", "hush"))
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	env := map[string]string{
		"KAFKA_BROKERS": broker.ListenAddrs()[0], "KAFKA_SASL_MECHANISM": "SCRAM-SHA-256", "KAFKA_USERNAME": "lark", "KAFKA_PASSWORD": "hush",
	}
	f := find(t, setup(t, env), "kafka")
	require.Equal(t, OK, f.State, f.Detail)
	require.Contains(t, f.Detail, "plain text, SCRAM-SHA-256 as lark")
	env["KAFKA_PASSWORD"] = "hushhush"
	f = find(t, setup(t, env), "kafka")
	require.Equal(t, Fail, f.State)
	require.NotContains(t, f.Detail, "hush")
	env["KAFKA_SASL_MECHANISM"] = ""
	f = find(t, setup(t, env), "kafka")
	require.Equal(t, Fail, f.State)
	require.Contains(t, f.Detail, "KAFKA_SASL_MECHANISM")
}

func TestRedisIsAskedAndItsURLNotShown(t *testing.T) {
	t.Parallel()
	redis := miniredis.RunT(t)
	cfg := setup(t, map[string]string{"REDIS_URL": "redis://" + redis.Addr()})
	require.Equal(t, OK, find(t, cfg, "redis").State)

	for _, url := range []string{"redis://user:geheim@127.0.0.1:1", "nonsense://user:geheim@host"} {
		f := find(t, setup(t, map[string]string{"REDIS_URL": url}), "redis")
		require.Equal(t, Warn, f.State)
		require.NotContains(t, f.Detail+f.Remedy, "geheim")
	}
}

func TestBlobStoreIsTried(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := setup(t, map[string]string{"BLOB_URL": "file://" + dir})
	require.Equal(t, OK, find(t, cfg, "blobs").State)
	left, err := filepath.Glob(filepath.Join(dir, "doctor", "*"))
	require.NoError(t, err)
	require.Empty(t, left)
	require.Equal(t, Fail, find(t, setup(t, map[string]string{"BLOB_URL": "ftp://x"}), "blobs").State)
}

func TestGatewayAddress(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	cfg := setup(t, nil)
	cfg.Addr = l.Addr().String()
	require.Equal(t, Warn, find(t, cfg, "gateway").State)
}

func TestRunningGatewayIsAsked(t *testing.T) {
	t.Parallel()
	status := http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer srv.Close()
	holder := up.Holder{Gateway: srv.URL}
	require.NoError(t, answers(t.Context(), holder))
	status = http.StatusServiceUnavailable
	require.ErrorContains(t, answers(t.Context(), holder), "not ready")
}
