package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/config/configtest"
	"github.com/larkstream/larkstream/shared/service"
	"github.com/larkstream/larkstream/shared/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// telemetryOnce is shared: its providers are global to the process.
var telemetryOnce = sync.OnceValue(func() *telemetry.Telemetry {
	tel, _, err := telemetry.Start(context.Background(), telemetry.Config{Service: "test", LogOutput: io.Discard})
	if err != nil {
		panic(err)
	}
	return tel
})

// lines collects log lines and lets a test wait for one.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func newLines() *lines { return &lines{more: make(chan struct{}, 100)} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.more <- struct{}{} }()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// wait returns the log from the first mention of text on, once it is there.
func (l *lines) wait(t *testing.T, text string) string {
	t.Helper()
	for {
		if _, rest, ok := strings.Cut(l.String(), text); ok {
			return rest
		}
		select {
		case <-l.more:
		case <-t.Context().Done():
			require.FailNow(t, "not logged", text)
		}
	}
}

// addr waits for the ready line and returns its address.
func (l *lines) addr(t *testing.T) string {
	t.Helper()
	_, addr, _ := strings.Cut(l.wait(t, "msg=ready"), "addr=")
	return strings.TrimSpace(strings.SplitN(addr, "\n", 2)[0])
}

func common(t *testing.T) service.Common {
	t.Helper()
	var c service.Common
	require.NoError(t, config.Defaults(&c))
	return c
}

// started is a service under test.
type started struct {
	logs *lines
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T, cfg service.Common, parts ...service.Part) *started {
	t.Helper()
	tel := telemetryOnce()
	ctx, cancel := context.WithCancel(context.Background())
	s := &started{logs: newLines(), stop: cancel, done: make(chan error, 1)}
	log := slog.New(slog.NewTextHandler(s.logs, nil))
	go func() { s.done <- service.Run(ctx, cfg, "test-svc", "v1", tel, log, parts...) }()
	t.Cleanup(cancel)
	return s
}

func (s *started) end() error {
	s.stop()
	return <-s.done
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	code, body, err := fetch(t.Context(), url)
	require.NoError(t, err)
	return code, body
}

func fetch(ctx context.Context, url string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func until(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestServesItsOwnRoutesAndThoseOfParts(t *testing.T) {
	t.Parallel()
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	s := start(t, common(t), service.Part{Name: "work", Run: until, Routes: map[string]http.Handler{"GET /hello": hello}}, service.Part{Name: "routes only"})
	base := "http://" + s.logs.addr(t)

	code, body := get(t, base+"/healthz")
	require.Equal(t, http.StatusOK, code)
	require.JSONEq(t, `{"status":"ok","service":"test-svc","version":"v1"}`, body)
	code, body = get(t, base+"/readyz")
	require.Equal(t, http.StatusOK, code)
	require.JSONEq(t, `{"status":"ready","parts":{"work":"ok","routes only":"ok"}}`, body)
	_, body = get(t, base+"/metrics")
	require.Contains(t, body, "go_goroutines")
	_, body = get(t, base+"/hello")
	require.Equal(t, "hello", body)
	code, _ = get(t, base+"/debug/pprof/")
	require.Equal(t, http.StatusNotFound, code, "off by default")
	require.NoError(t, s.end())
}

func TestPprofWhenAskedFor(t *testing.T) {
	t.Parallel()
	cfg := common(t)
	cfg.Pprof = true
	s := start(t, cfg)
	code, body := get(t, "http://"+s.logs.addr(t)+"/debug/pprof/")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, body, "goroutine")
	require.NoError(t, s.end())
}

func TestReadyOnlyWhenEveryPartIs(t *testing.T) {
	t.Parallel()
	cfg := common(t)
	cfg.StateFile = filepath.Join(t.TempDir(), "run/state.json")
	var ready atomic.Bool
	listening := make(chan struct{})
	s := start(t, cfg, service.Part{Name: "kafka", Run: func(ctx context.Context) error { close(listening); return until(ctx) }, Ready: func() error {
		if !ready.Load() {
			return errors.New("no assignment yet")
		}
		return nil
	}})
	<-listening
	raw, err := os.ReadFile(cfg.StateFile)
	require.NoError(t, err)
	var state struct {
		PID      int    `json:"pid"`
		HTTPAddr string `json:"http_addr"`
	}
	require.NoError(t, json.Unmarshal(raw, &state))
	require.Equal(t, os.Getpid(), state.PID)

	code, body := get(t, "http://"+state.HTTPAddr+"/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.JSONEq(t, `{"status":"not ready","parts":{"kafka":"no assignment yet"}}`, body)
	require.NotContains(t, s.logs.String(), "msg=ready")
	ready.Store(true)
	require.Equal(t, state.HTTPAddr, s.logs.addr(t))
	require.NoError(t, s.end())
	require.NoFileExists(t, cfg.StateFile)
}

// A degraded service says so and is ready all the same: without it there would be nothing.
func TestADegradedServiceIsReady(t *testing.T) {
	t.Parallel()
	var fault atomic.Pointer[error]
	degraded := func() error {
		if err := fault.Load(); err != nil {
			return *err
		}
		return nil
	}
	s := start(t, common(t), service.Part{Name: "redis", Degraded: degraded}, service.Part{Name: "disk"})
	url := "http://" + s.logs.addr(t) + "/readyz"
	code, body := get(t, url)
	require.Equal(t, http.StatusOK, code)
	require.JSONEq(t, `{"status":"ready","parts":{"redis":"ok","disk":"ok"}}`, body)
	err := errors.New("Redis does not answer")
	fault.Store(&err)
	code, body = get(t, url)
	require.Equal(t, http.StatusOK, code)
	require.JSONEq(t, `{"status":"degraded","parts":{"redis":"degraded: Redis does not answer","disk":"ok"}}`, body)
	require.NoError(t, s.end())
}

// Not ready comes first, then the parts stop one after another, the last first; HTTP is there to the end.
func TestOrderedStop(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var order []string
	note := func(s string) { mu.Lock(); order = append(order, s); mu.Unlock() }
	draining, finish := make(chan struct{}), make(chan struct{})
	part := func(name string) service.Part {
		return service.Part{Name: name, Run: func(ctx context.Context) error {
			<-ctx.Done()
			note(name + " told")
			if name == "consumer" {
				close(draining)
				<-finish
			}
			note(name + " ended")
			return nil
		}}
	}
	s := start(t, common(t), part("producer"), part("engine"), part("consumer"))
	base := "http://" + s.logs.addr(t)
	s.stop()
	<-draining
	code, body := get(t, base+"/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, body, `"stopping"`)
	code, _ = get(t, base+"/metrics")
	require.Equal(t, http.StatusOK, code)
	close(finish)
	require.NoError(t, <-s.done)
	require.Equal(t, []string{"consumer told", "consumer ended", "engine told", "engine ended", "producer told", "producer ended"}, order)
}

func TestDrainDeadline(t *testing.T) {
	t.Parallel()
	cfg := common(t)
	cfg.DrainTimeout = time.Millisecond
	release := make(chan struct{})
	var first atomic.Bool
	s := start(t, cfg, service.Part{Name: "first", Run: func(ctx context.Context) error { <-ctx.Done(); first.Store(true); return nil }},
		service.Part{Name: "stuck", Run: func(context.Context) error { <-release; return nil }})
	s.logs.addr(t)
	err := s.end()
	require.ErrorIs(t, err, service.ErrDrain)
	require.ErrorContains(t, err, "part stuck")
	close(release)
	require.Eventually(t, first.Load, 10*time.Second, time.Millisecond, "the others were told to end all the same")
}

func TestAPartThatFailsStopsTheService(t *testing.T) {
	t.Parallel()
	broken := errors.New("broker gone")
	var stopped atomic.Bool
	s := start(t, common(t), service.Part{Name: "other", Run: func(ctx context.Context) error { <-ctx.Done(); stopped.Store(true); return nil }},
		service.Part{Name: "kafka", Run: func(context.Context) error { return broken }})
	err := <-s.done
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "running kafka")
	require.True(t, stopped.Load())
}

func TestAPartThatEndsEarlyIsAFault(t *testing.T) {
	t.Parallel()
	for _, early := range []error{nil, context.Canceled} {
		s := start(t, common(t), service.Part{Name: "recorder", Run: func(context.Context) error { return early }})
		require.ErrorContains(t, <-s.done, "running recorder")
	}
}

func TestErrorsWhileStoppingAreReported(t *testing.T) {
	t.Parallel()
	s := start(t, common(t), service.Part{Name: "a", Run: func(ctx context.Context) error { <-ctx.Done(); return errors.New("losing the last offset") }},
		service.Part{Name: "b", Run: until})
	s.logs.addr(t)
	require.ErrorContains(t, s.end(), "running a: losing the last offset")
}

func TestOpenRequestsFinish(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	slow := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "done")
	})
	s := start(t, common(t), service.Part{Name: "api", Routes: map[string]http.Handler{"/slow": slow}})
	base := "http://" + s.logs.addr(t)
	answer := make(chan string, 1)
	go func() {
		_, body, err := fetch(context.Background(), base+"/slow")
		answer <- fmt.Sprint(body, err)
	}()
	<-entered
	s.stop()
	s.logs.wait(t, "msg=stopping")
	close(release)
	require.Equal(t, "done<nil>", <-answer)
	require.NoError(t, <-s.done)
}

// TestProbesAreAnsweredWhileAClientHoldsItsConnections: half-sent requests of one address, twice as many as are kept for probes.
func TestProbesAreAnsweredWhileAClientHoldsItsConnections(t *testing.T) {
	t.Parallel()
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	cfg := common(t)
	cfg.HTTPConnectionsPerClient = 4
	s := start(t, cfg, service.Part{Name: "a", Routes: map[string]http.Handler{"/hello": hello}})
	addr := s.logs.addr(t)
	base := "http://" + addr
	var held []net.Conn
	for range cfg.HTTPConnectionsPerClient + 64 {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
		require.NoError(t, err)
		_, err = io.WriteString(c, "GET /hello HTTP/1.1\r\nHos")
		require.NoError(t, err)
		held = append(held, c)
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		code, _ := get(t, base+path)
		require.Equal(t, http.StatusOK, code, path)
	}
	code, body := get(t, base+"/hello")
	require.Equal(t, http.StatusTooManyRequests, code)
	require.Contains(t, body, `"code":"too_many_connections"`)
	require.Contains(t, body, "http_connections_per_client")
	s.logs.wait(t, "too many HTTP connections")
	for _, c := range held {
		require.NoError(t, c.Close())
	}
	require.Eventually(t, func() bool {
		code, _, err := fetch(t.Context(), base+"/hello")
		return err == nil && code == http.StatusOK
	}, time.Minute, 5*time.Millisecond, "connections that end are given back")
	require.NoError(t, s.end())
}

// TestGuardsStandBeforeAllButProbes: in the order of the parts; metrics are no probe.
func TestGuardsStandBeforeAllButProbes(t *testing.T) {
	t.Parallel()
	guard := func(name string) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Has(name) {
					http.Error(w, name, http.StatusTeapot)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	cfg := common(t)
	cfg.Pprof = true
	s := start(t, cfg, service.Part{Name: "a", Guard: guard("first")}, service.Part{Name: "b", Guard: guard("second"), Routes: map[string]http.Handler{"/hello": hello}})
	base := "http://" + s.logs.addr(t)
	for path, want := range map[string]string{
		"/hello": "200 hello", "/hello?second": "418 second\n", "/hello?first&second": "418 first\n", "/debug/pprof/cmdline?second": "418 second\n",
		"/metrics?second": "418 second\n",
	} {
		code, body := get(t, base+path)
		require.Equal(t, want, fmt.Sprintf("%d %s", code, body), path)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		code, _ := get(t, base+path+"?first&second")
		require.Equal(t, http.StatusOK, code, path)
	}
	require.NoError(t, s.end())
}

func TestAnswersNameTheirTypeAndTheirMethods(t *testing.T) {
	t.Parallel()
	s := start(t, common(t), service.Part{Name: "a"})
	base := "http://" + s.logs.addr(t)
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		for method, want := range map[string]int{http.MethodGet: http.StatusOK, http.MethodHead: http.StatusOK, http.MethodPost: http.StatusMethodNotAllowed} {
			req, err := http.NewRequestWithContext(t.Context(), method, base+path, nil)
			require.NoError(t, err)
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, want, resp.StatusCode, path)
			require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
			require.Equal(t, want == http.StatusMethodNotAllowed, resp.Header.Get("Allow") == "GET, HEAD")
		}
	}
	require.NoError(t, s.end())
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	tel, log := telemetryOnce(), slog.New(slog.DiscardHandler)
	run := func(cfg service.Common, parts ...service.Part) error {
		return service.Run(t.Context(), cfg, "x", "v", tel, log, parts...)
	}
	bad := common(t)
	bad.HTTPAddr = "256.0.0.1:bad"
	require.ErrorContains(t, run(bad), "starting x")
	route := map[string]http.Handler{"GET /healthz": http.NotFoundHandler()}
	require.ErrorContains(t, run(common(t), service.Part{Name: "p", Routes: route}), "adding routes")
	stateless := common(t)
	stateless.StateFile = "/dev/null/state"
	require.ErrorContains(t, run(stateless), "state file")
	require.ErrorContains(t, service.Run(t.Context(), common(t), "x", "v", nil, log), "telemetry")
}

func TestStartAndStopAtOnce(t *testing.T) {
	t.Parallel()
	for range 20 {
		s := start(t, common(t), service.Part{Name: "a", Run: until}, service.Part{Name: "b", Run: until})
		require.NoError(t, s.end())
	}
}

func TestAContextThatHasEndedAlready(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var told atomic.Bool
	part := service.Part{Name: "a", Run: func(ctx context.Context) error { <-ctx.Done(); told.Store(true); return nil }}
	require.NoError(t, service.Run(ctx, common(t), "x", "v", telemetryOnce(), slog.New(slog.DiscardHandler), part))
	require.True(t, told.Load())
}

func TestCommonLoadsCompletely(t *testing.T) {
	t.Parallel()
	configtest.Complete(t, func() any { return new(service.Common) }, "testdata/complete.yaml")
}

func TestCommonReportsAllFaults(t *testing.T) {
	t.Parallel()
	err := service.Common{HTTPAddr: "x", KafkaBrokers: []string{"nowhere"}, LogLevel: "loud", LogFormat: "xml"}.Validate()
	for _, path := range []string{"http_addr", "http_connections", "http_connections_per_client", "kafka_brokers", "blob_url", "log_level", "log_format", "drain_timeout"} {
		require.ErrorContains(t, err, path+":")
	}
	require.NoError(t, common(t).Validate())
}

func TestCommonGivesTelemetry(t *testing.T) {
	t.Parallel()
	c := common(t)
	c.OTLPEndpoint, c.LogFormat = "http://collector:4318", telemetry.LogJSON
	got := c.Telemetry(telemetry.ServiceLLM)
	require.Equal(t, telemetry.Config{
		Service: "llm-svc", Version: service.Version(), OTLPEndpoint: "http://collector:4318", LogLevel: "info", LogFormat: "json",
	}, got)
	require.NotEmpty(t, service.Version())
}
