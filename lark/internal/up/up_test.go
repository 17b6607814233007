package up

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/lark/internal/supervise"
	"github.com/larkstream/larkstream/shared/kafka"
)

// The test binary is its own children: called as `serve --attached STAGE` it answers /readyz and tells its environment.
func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == "serve" {
		os.Exit(fakeStage(os.Args[3])) //nolint:forbidigo // the end of a child process
	}
	goleak.VerifyTestMain(m)
}

func fakeStage(stage string) int {
	if os.Getenv("FAKE_BROKEN") == stage {
		_, _ = fmt.Fprintln(os.Stdout, "weights are missing")
		return 1
	}
	l, err := net.Listen("tcp", os.Getenv("LARK_HTTP_ADDR"))
	if err != nil {
		_, _ = fmt.Fprintln(os.Stdout, err)
		return 1
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(os.Environ()) })
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGTERM) // before it is ready: a signal that comes first would end it without a word
	go func() { _ = http.Serve(l, mux) }()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		ch <- syscall.SIGTERM
	}()
	_, _ = fmt.Fprintln(os.Stdout, "serving")
	<-ch
	_, _ = fmt.Fprintln(os.Stdout, "stopped", stage)
	return 0
}

// journal collects the children's lines.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func testConfig(t *testing.T) Config {
	t.Helper()
	model := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(model, "model.yaml"), []byte("format: x\n"), 0o600))
	return Config{
		Data: Folder(t.TempDir()), Addr: "127.0.0.1:0", ModelDir: model, Executable: os.Args[0],
		Env:       []string{"PATH=" + os.Getenv("PATH")},
		Supervise: supervise.Config{MinBackoff: time.Millisecond, Poll: time.Millisecond, Tries: 2},
	}
}

func startStack(t *testing.T, cfg Config) (*Stack, *journal) {
	t.Helper()
	out := &journal{}
	s, err := Start(t.Context(), cfg, Deps{Log: slog.New(slog.DiscardHandler), Output: out})
	require.NoError(t, err)
	t.Cleanup(func() { s.Stop(context.WithoutCancel(t.Context())) })
	return s, out
}

func childEnv(t *testing.T, s *Stack, stage string) []string {
	t.Helper()
	resp, err := http.Get("http://" + s.Place(stage).HTTPAddr + "/env")
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	var env []string
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&env))
	http.DefaultClient.CloseIdleConnections()
	return env
}

func TestEverythingStartsAndStopsInOrder(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Env = append(cfg.Env, "KAFKA_TLS=true", "KAFKA_SASL_MECHANISM=PLAIN", "KAFKA_PASSWORD=of-another-broker")
	s, out := startStack(t, cfg)
	require.Equal(t, Stages(), s.Running())
	for _, stage := range Stages() {
		require.True(t, s.Status(stage).Ready, stage)
		place, err := cfg.Data.Place(stage)
		require.NoError(t, err)
		require.Equal(t, s.Status(stage).PID, place.PID)
		require.Equal(t, s.Place(stage).HTTPAddr, place.HTTPAddr)
	}
	holder, running, err := cfg.Data.Running()
	require.NoError(t, err)
	require.True(t, running)
	require.Equal(t, s.GatewayURL(), holder.Gateway)
	require.Equal(t, os.Getpid(), holder.PID)

	env := childEnv(t, s, Encoder)
	require.Contains(t, env, "KAFKA_BROKERS="+s.Place(Broker).KafkaAddr)
	require.Contains(t, env, fmt.Sprintf("KAFKA_KEEP_FINISHED=%d", kafka.KeepFinished))
	for _, kv := range env {
		require.NotRegexp(t, "^KAFKA_(TLS|SASL|PASSWORD)", kv, "the embedded broker takes neither TLS nor logins")
	}
	require.Contains(t, env, "LARK_MODEL_DIR="+cfg.ModelDir)
	require.Contains(t, env, "BLOB_URL=file://"+cfg.Data.path("blobs"))
	require.Contains(t, env, "DATABASE_URL=sqlite://"+cfg.Data.path("lark.db"))

	s.Stop(t.Context())
	text := out.String()
	last := strings.Index(text, "stopped broker")
	first := strings.Index(text, "stopped gateway")
	require.Positive(t, first)
	for _, stage := range []string{Chunker, Encoder, Projector, LLM} {
		at := strings.Index(text, "stopped "+stage)
		require.Greater(t, at, first, stage)
		require.Less(t, at, last, stage)
		logged, err := os.ReadFile(cfg.Data.LogPath(stage))
		require.NoError(t, err)
		require.Equal(t, "serving\nstopped "+stage+"\n", string(logged))
	}
	_, running, err = cfg.Data.Running()
	require.NoError(t, err)
	require.False(t, running)
}

func TestOneFolderOneStack(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	s, _ := startStack(t, cfg)
	_, err := Start(t.Context(), cfg, Deps{Log: slog.New(slog.DiscardHandler)})
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, os.Getpid(), locked.Holder.PID)
	require.ErrorContains(t, err, s.GatewayURL())
	require.ErrorContains(t, err, "--data")
}

// The children of a supervisor that was killed answer until they have drained: who asks while the next one starts must not be sent to them.
func TestTheGatewayOfADeadSupervisorIsNotNamed(t *testing.T) {
	t.Parallel()
	folder := Folder(t.TempDir())
	dead, err := folder.lock()
	require.NoError(t, err)
	require.NoError(t, dead.note(Holder{PID: os.Getpid(), Gateway: "http://127.0.0.1:1"}))
	require.NoError(t, dead.file.Close(), "what the kernel does when the supervisor dies")

	next, err := folder.lock()
	require.NoError(t, err)
	require.True(t, next.crashed)
	holder, running, err := folder.Running()
	require.NoError(t, err)
	require.True(t, running)
	require.Empty(t, holder.Gateway)
	next.release()
}

func TestStagesComeBackOnTheirAddress(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	s, _ := startStack(t, cfg)
	before := map[string]Place{}
	for _, stage := range Stages() {
		before[stage] = s.Place(stage)
		require.NoError(t, syscall.Kill(s.Status(stage).PID, syscall.SIGKILL))
	}
	for _, stage := range Stages() {
		require.Eventually(t, func() bool {
			now := s.Status(stage)
			return now.Ready && now.Restarts == 1
		}, 30*time.Second, time.Millisecond, stage)
		require.Equal(t, before[stage].KafkaAddr, s.Place(stage).KafkaAddr)
		require.Equal(t, before[stage].HTTPAddr, s.Place(stage).HTTPAddr)
	}
	s.Stop(t.Context())

	again, _ := startStack(t, cfg)
	require.Equal(t, before[Broker].KafkaAddr, again.Place(Broker).KafkaAddr, "the broker's address outlives the stack")
}

func TestAFailedStartLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Env = append(cfg.Env, "FAKE_BROKEN="+Encoder)
	_, err := Start(t.Context(), cfg, Deps{Log: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, "starting encoder: exit status 1")
	require.ErrorContains(t, err, "weights are missing")
	_, running, err := cfg.Data.Running()
	require.NoError(t, err)
	require.False(t, running)
	place, err := cfg.Data.Place(Broker)
	require.NoError(t, err)
	require.True(t, isFree(place.HTTPAddr))
}

func TestOutsideServicesTakeThePlaceOfTheFolders(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	outside := []string{"KAFKA_BROKERS=kafka:9092", "KAFKA_TLS=true", "BLOB_URL=mem://", "DATABASE_URL=postgres://db", "REDIS_URL=redis://r"}
	cfg.Env = append(cfg.Env, outside...)
	s, _ := startStack(t, cfg)
	require.NotContains(t, s.Running(), Broker)
	env := childEnv(t, s, LLM)
	require.Subset(t, env, outside)
	for _, kv := range env {
		require.NotRegexp(t, "^KAFKA_KEEP_FINISHED", kv, "what somebody's own Kafka keeps is not ours to bound")
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Targets = []string{Broker, Chunker}
	s, _ := startStack(t, cfg)
	require.Equal(t, cfg.Targets, s.Running())
	require.Empty(t, s.GatewayURL())
	require.Zero(t, s.Status(Gateway))

	cfg = testConfig(t)
	cfg.Targets = []string{"drummer"}
	_, err := Start(t.Context(), cfg, Deps{Log: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, `no stage "drummer"`)
	cfg.Targets = []string{Encoder}
	_, err = Start(t.Context(), cfg, Deps{Log: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, "KAFKA_BROKERS must name one")
}

func TestATakenGatewayAddressIsToldAtOnce(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	cfg := testConfig(t)
	cfg.Addr = l.Addr().String()
	_, err = Start(t.Context(), cfg, Deps{Log: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, "name another with --addr")
}

// A supervisor that was killed leaves its note in the lock file and children that take a moment to end.
func TestTakingOverFromAKilledSupervisor(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	orphan, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(cfg.Data.path("run"), 0o755))
	require.NoError(t, cfg.Data.setPlace(Broker, Place{PID: 1, HTTPAddr: "127.0.0.1:0", KafkaAddr: orphan.Addr().String()}))
	require.NoError(t, os.WriteFile(cfg.Data.path("up.lock"), []byte(`{"pid":1}`), 0o600))
	p := newPorts(cfg.Data)
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	p.waitFree(impatient, Stages())
	require.False(t, isFree(orphan.Addr().String()))

	go func() { _ = orphan.Close() }()
	s, _ := startStack(t, cfg)
	require.Equal(t, orphan.Addr().String(), s.Place(Broker).KafkaAddr)
}

func TestFindModel(t *testing.T) {
	data := Folder(t.TempDir())
	t.Setenv("LARK_MODEL_DIR", "")
	t.Chdir(t.TempDir())
	_, err := FindModel("", data)
	require.ErrorIs(t, err, ErrNoModel)
	require.ErrorContains(t, err, "--model")

	bundle := data.path("models", defaultModel)
	require.NoError(t, os.MkdirAll(bundle, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(bundle, "model.yaml"), nil, 0o600))
	found, err := FindModel("", data)
	require.NoError(t, err)
	require.Equal(t, bundle, found)

	_, err = FindModel(t.TempDir(), data)
	require.ErrorIs(t, err, ErrNoModel)
	t.Setenv("LARK_MODEL_DIR", t.TempDir())
	_, err = FindModel("", data)
	require.ErrorIs(t, err, ErrNoModel, "a folder that was named is not passed over")
}

func TestDefaultFolder(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", "/x")
	f, err := DefaultFolder()
	require.NoError(t, err)
	require.Equal(t, Folder("/x/larkstream"), f)
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("HOME", "/h")
	f, err = DefaultFolder()
	require.NoError(t, err)
	require.Equal(t, Folder("/h/.local/share/larkstream"), f)
}
