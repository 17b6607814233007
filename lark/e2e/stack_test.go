package e2e

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/supervise"
	"github.com/larkstream/larkstream/lark/internal/up"
)

// patience bounds every wait for a state that must come; nothing is measured with it.
const patience = 90 * time.Second

// poll is the time between two looks at a state.
const poll = 20 * time.Millisecond

// workStages are the stages that do the work, in their order.
func workStages() []string { return []string{up.Chunker, up.Encoder, up.Projector, up.LLM} }

// options of an installation.
type options struct {
	// data holds all state; an installation started on the same folder goes on where the last one stopped.
	data string
	// env is added to the environment of every stage.
	env []string
	// database is the DATABASE_URL; empty: one that belongs to data.
	database string
	// blobsMB gives the object store of the embedded environment a disk of its own, of so many MiB, which only the installation sees; 0 = none.
	blobsMB int
	// gateways and instances are how many gateways there are in the real environment, and how many instances of each stage; 0 is 1.
	gateways, instances int
	// bin is the folder of the binaries; empty: those built from the tree.
	bin string
}

// gatewayName is the name of one of several gateways, from 0.
func gatewayName(n int) string { return instanceName(up.Gateway, n) }

// instanceName is the name of one of several instances of a stage, from 0.
func instanceName(stage string, n int) string {
	if n == 0 {
		return stage
	}
	return fmt.Sprint(stage, "-", n+1)
}

// gatewayNames and stageNames are the names of all processes in the real environment.
func (o options) gatewayNames() []string { return instanceNames(max(1, o.gateways), up.Gateway) }

func (o options) stageNames() []string { return instanceNames(max(1, o.instances), workStages()...) }

func instanceNames(each int, stages ...string) (names []string) {
	for _, stage := range stages {
		for n := range each {
			names = append(names, instanceName(stage, n))
		}
	}
	return names
}

// testEngines makes the stages run their test engines, slow enough to be met in the middle of their work.
func testEngines() []string {
	return []string{
		"LARK_ENCODER_ENGINE=test", "LARK_ENCODER_TEST_DELAY=25ms",
		"LARK_LLM_ENGINE=test", "LARK_LLM_TEST_DELAY=20ms",
	}
}

// stack is a running installation: in the embedded environment a lark up with its children, in the real one each
// service's own binary on the suite's Kafka.
type stack struct {
	*client.Client
	opts     options
	folder   up.Folder
	children map[string]*supervise.Child // by stage; up itself under "up"
	addrs    map[string]string           // HTTP address by stage, in the real environment
	admin    map[string]string           // admin addresses of gateways, in the real environment
	logs     []*os.File
}

// start starts an installation and stops it at the end of the test.
func start(t *testing.T, opts options) *stack {
	t.Helper()
	parkTester()
	s, err := launch(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() {
		s.halt()
		if t.Failed() {
			s.showLogs(t)
		}
	})
	return s
}

func launch(ctx context.Context, opts options) (*stack, error) {
	s := &stack{opts: opts, folder: up.Folder(opts.data), children: map[string]*supervise.Child{}, addrs: map[string]string{}, admin: map[string]string{}}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	run := s.runUp
	if world.kafka != nil {
		run = s.runServices
	}
	if s.opts.bin == "" {
		s.opts.bin = world.bin
	}
	if s.opts.database == "" {
		var err error
		if s.opts.database, err = world.database(ctx, opts.data); err != nil {
			return nil, err
		}
	}
	if err := run(ctx); err != nil {
		s.halt()
		return nil, err
	}
	c, err := client.New(s.gateway(), nil)
	if err != nil {
		s.halt()
		return nil, err
	}
	s.Client = c.WithToken(adminKey())
	return s, nil
}

// environ is what every stage gets: nothing of this machine but where programs and files are.
func (s *stack) environ() []string {
	env := []string{"LARK_MODEL_DIR=" + modelDir(), "DATABASE_URL=" + s.opts.database}
	if key := adminKey(); key != "" {
		env = append(env, "LARK_GATEWAY_AUTH=keys", "LARK_ADMIN_KEY="+key, client.EnvToken+"="+key)
	}
	if world.redis != nil {
		env = append(env, "REDIS_URL="+world.redis.url())
	}
	for _, key := range []string{"PATH", "HOME", "TMPDIR", "GOCOVERDIR"} {
		if v, ok := os.LookupEnv(key); ok {
			env = append(env, key+"="+v)
		}
	}
	return append(env, s.opts.env...)
}

func (s *stack) runUp(ctx context.Context) error {
	if err := s.spawnUp(s.opts.bin, s.environ()); err != nil {
		return err
	}
	return s.children["up"].WaitReady(ctx)
}

// spawnUp starts the lark up of a folder of binaries.
func (s *stack) spawnUp(bin string, env []string) error {
	return s.spawn("up", func() (*exec.Cmd, error) {
		line := []string{filepath.Join(bin, "lark"), "up", "--data", s.opts.data, "--addr", "127.0.0.1:0"}
		if s.opts.blobsMB > 0 {
			disk := fmt.Sprintf(`mount -t tmpfs -o size=%dm blobs "$0/blobs" && exec "$@"`, s.opts.blobsMB)
			line = append([]string{"unshare", "--map-root-user", "--mount", "sh", "-c", disk, s.opts.data}, line...)
		}
		cmd := exec.Command(line[0], line[1:]...)
		cmd.Env = env
		return cmd, nil
	}, func(context.Context) error {
		holder, ok, err := s.folder.Running()
		if err == nil && (!ok || holder.Gateway == "") {
			err = errors.New("lark up is starting")
		}
		return err
	})
}

func (s *stack) runServices(ctx context.Context) error {
	gateways := s.opts.gatewayNames()
	for _, name := range append(s.opts.stageNames(), gateways...) {
		addr, admin, err := twoFreeAddrs()
		if err != nil {
			return err
		}
		s.addrs[name] = addr
		if slices.Contains(gateways, name) {
			s.admin[name] = admin
		}
		if err := s.spawnService(name, s.opts.bin, s.environ()); err != nil {
			return err
		}
	}
	for _, child := range s.children {
		if err := child.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// spawnService starts the binary of a gateway or of a stage's instance at the addresses that it has.
func (s *stack) spawnService(name, bin string, env []string) error {
	stage, _, _ := strings.Cut(name, "-")
	binary := stage + "-svc"
	if stage == up.Gateway {
		binary = up.Gateway
	}
	return s.spawn(name, func() (*exec.Cmd, error) {
		cmd := exec.Command(filepath.Join(bin, binary))
		cmd.Env = append([]string{ // a test's own environment comes later and wins
			"KAFKA_BROKERS=" + world.kafka.addr, "LARK_HTTP_ADDR=" + s.addrs[name], "LARK_ADMIN_ADDR=" + s.admin[name],
			"BLOB_URL=file://" + filepath.Join(s.opts.data, "blobs"),
		}, env...)
		return cmd, nil
	}, func(ctx context.Context) error { return readyAt(ctx, s.addrs[name]) })
}

// spawn supervises a child with its output in a log file.
func (s *stack) spawn(name string, command func() (*exec.Cmd, error), ready func(context.Context) error) error {
	path := filepath.Join(s.opts.data, "e2e-"+name+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening log of %s: %w", name, err)
	}
	s.logs = append(s.logs, log)
	spec := supervise.Spec{Name: name, Command: command, Ready: ready, Output: log}
	s.children[name] = supervise.Start(childTimes(), spec, quiet())
	return nil
}

// halt stops everything in good order: the gateway first, then the stages.
func (s *stack) halt() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, name := range slices.Concat([]string{"up"}, s.opts.gatewayNames(), s.opts.stageNames()) {
		if child := s.children[name]; child != nil {
			child.Stop(ctx)
		}
	}
	for _, log := range s.logs {
		_ = log.Close()
	}
	s.logs = nil
}

// showLogs prints the ends of the logs of an installation whose test failed.
func (s *stack) showLogs(t *testing.T) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(s.opts.data, "e2e-*.log"))
	require.NoError(t, err)
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		t.Logf("%s:\n%s", filepath.Base(path), raw[max(0, len(raw)-8<<10):])
	}
}

func (s *stack) gateway() string { return "http://" + s.addr(up.Gateway) }

// addr is where a stage serves HTTP.
func (s *stack) addr(stage string) string {
	if addr, ok := s.addrs[stage]; ok {
		return addr
	}
	place, err := s.folder.Place(stage)
	if err != nil {
		return ""
	}
	return place.HTTPAddr
}

// metricsAddr is where a stage serves metrics.
func (s *stack) metricsAddr(t *testing.T, stage string) string {
	t.Helper()
	switch {
	case s.admin[stage] != "":
		return s.admin[stage]
	case stage != up.Gateway:
		return s.addr(stage)
	}
	place, err := s.folder.Place(stage)
	require.NoError(t, err)
	return place.AdminAddr
}

// adminKey is the key of every test, if the suite runs with keys (LARK_E2E_AUTH=keys); empty if the gateway asks for none.
func adminKey() string {
	if os.Getenv("LARK_E2E_AUTH") != "keys" {
		return ""
	}
	return "lk_e2e_" + strings.Repeat("0123456789abcdef", 4)
}

// pid is a stage's process; up.Broker is the embedded broker or Kafka.
func (s *stack) pid(stage string) int {
	switch {
	case world.kafka == nil:
		place, err := s.folder.Place(stage)
		if err != nil {
			return 0
		}
		return place.PID
	case stage == up.Broker:
		return world.kafka.child.Status().PID
	}
	return s.children[stage].Status().PID
}

func (s *stack) brokers() []string {
	if world.kafka != nil {
		return []string{world.kafka.addr}
	}
	place, err := s.folder.Place(up.Broker)
	if err != nil {
		return nil
	}
	return []string{place.KafkaAddr}
}

// kill ends a stage at once, as a crash would, and returns when another process has taken its place.
func (s *stack) kill(t *testing.T, stage string) {
	t.Helper()
	pid := s.pid(stage)
	require.Positive(t, pid, stage)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.Eventually(t, func() bool {
		now := s.pid(stage)
		return now != 0 && now != pid
	}, patience, poll, "%s was not started again", stage)
}

// ready waits until every stage can work.
func (s *stack) ready(t *testing.T) {
	t.Helper()
	for _, stage := range append(workStages(), up.Gateway) {
		require.Eventually(t, func() bool { return readyAt(t.Context(), s.addr(stage)) == nil }, patience, poll, "%s is not ready", stage)
	}
}

func readyAt(ctx context.Context, addr string) error {
	body, err := get(ctx, "http://"+addr+"/readyz")
	if err != nil {
		return err
	}
	return body.Close()
}

func get(ctx context.Context, url string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("asking %s: HTTP %d", url, resp.StatusCode)
	}
	return resp.Body, nil
}

// metric sums the samples of a Prometheus metric of a stage whose labels hold all of the given pairs, e.g. `result="ok"`.
func (s *stack) metric(t *testing.T, stage, name string, labels ...string) float64 {
	t.Helper()
	body, err := get(t.Context(), "http://"+s.metricsAddr(t, stage)+"/metrics")
	require.NoError(t, err)
	defer func() { require.NoError(t, body.Close()) }()
	sum := 0.0
	lines := bufio.NewScanner(body)
sample:
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest == "" || (rest[0] != '{' && rest[0] != ' ') {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(rest, label) {
				continue sample
			}
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		require.NoError(t, err)
		sum += value
	}
	require.NoError(t, lines.Err())
	return sum
}

// encoderRuns counts the windows that the encoder's engine has encoded since its process started.
func (s *stack) encoderRuns(t *testing.T) int {
	t.Helper()
	return int(s.metric(t, up.Encoder, "lark_encoder_runs_total"))
}

// peakMemory is the most bytes that a stage's process has held at once, 0 where the system does not tell.
func (s *stack) peakMemory(t *testing.T, stage string) int64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid(stage)))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	require.NoError(t, err)
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			require.NoError(t, err)
			return kib << 10
		}
	}
	return 0
}

// modelDir is the bundle that the shared stack serves.
func modelDir() string {
	return cmp.Or(os.Getenv("LARK_MODEL_DIR"), filepath.Join(world.root, "models", "lark-nano"))
}
