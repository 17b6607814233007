package cli_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/model/modeltest"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/ask"
	"github.com/larkstream/larkstream/lark/internal/up"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// patience bounds every wait for a state that must come.
const patience = 90 * time.Second

// executable is the real lark, built once.
var executable string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "lark-cli-test-")
	if err != nil {
		panic(err)
	}
	executable = filepath.Join(dir, "lark")
	if out, err := exec.Command("go", "build", "-o", executable, "../../cmd/lark").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("building lark: %v\n%s", err, out))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code) //nolint:forbidigo // the end of the tests' main
	}))
}

// world is a data folder, a tiny model with random weights behind test engines, and a track of 30 s.
type world struct {
	data, model, track string
	env                []string
}

func setup(t *testing.T) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("runs every process")
	}
	w := &world{data: t.TempDir(), model: modeltest.Write(t, modeltest.Manifest())}
	w.track = filepath.Join(w.data, "song.wav")
	require.NoError(t, os.WriteFile(w.track, tone(30), 0o600))
	w.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.data, "LARK_MODEL_DIR=" + w.model, "LARK_DATA_DIR=" + w.data,
		"LARK_ENCODER_ENGINE=test", "LARK_LLM_ENGINE=test",
	}
	return w
}

// tone is a wav file of a rising sine, so that no two windows are the same.
func tone(seconds int) []byte {
	const rate = 44_100
	samples := make([]int16, rate*seconds)
	for i := range samples {
		samples[i] = int16(12_000 * math.Sin(2*math.Pi*(440+float64(i)/rate)*float64(i)/rate))
	}
	var b bytes.Buffer
	b.WriteString("RIFF")
	_ = little(&b, uint32(36+2*len(samples)))
	b.WriteString("WAVEfmt ")
	_ = little(&b, uint32(16), uint16(1), uint16(1), uint32(rate), uint32(2*rate), uint16(2), uint16(16))
	b.WriteString("data")
	_ = little(&b, uint32(2*len(samples)), samples)
	return b.Bytes()
}

func little(w io.Writer, values ...any) error {
	for _, v := range values {
		if err := binary.Write(w, binary.LittleEndian, v); err != nil {
			return err
		}
	}
	return nil
}

// output collects what a process prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// lark runs the binary to its end.
func (w *world) lark(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, executable, args...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = w.env, w.data, &out, &errs
	err := cmd.Run()
	require.NoError(t, ctx.Err(), "lark %s: %s", strings.Join(args, " "), errs.String())
	if err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// larkToFullDisk runs the binary to its end with a standard output that takes nothing.
func (w *world) larkToFullDisk(t *testing.T, args ...string) (stderr string, code int) {
	t.Helper()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, executable, args...)
	var errs bytes.Buffer
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = w.env, w.data, full, &errs
	require.Error(t, cmd.Run(), args)
	return errs.String(), cmd.ProcessState.ExitCode()
}

// running is a lark up.
type running struct {
	cmd      *exec.Cmd
	out, err *output
	gateway  string
	// admin is where the gateway shows metrics and traces.
	admin string
}

// up starts lark up and waits for its ready line.
func (w *world) up(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{out: &output{}, err: &output{}}
	r.cmd = exec.Command(executable, append([]string{"up", "--addr", "127.0.0.1:0"}, args...)...)
	r.cmd.Env, r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr = w.env, w.data, r.out, r.err
	require.NoError(t, r.cmd.Start())
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
	})
	require.Eventually(t, func() bool { return strings.Contains(r.out.String(), "\n") }, patience, 10*time.Millisecond, r.err)
	_, err := fmt.Sscanf(r.out.String(), "ready: gateway %s", &r.gateway)
	_, traces, _ := strings.Cut(r.out.String(), "  traces ")
	r.admin, _, _ = strings.Cut(traces, "/debug/traces")
	require.NoError(t, err, r.out)
	return r
}

// stop interrupts lark up as Ctrl-C does and waits for its end.
func (r *running) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, r.cmd.Process.Signal(os.Interrupt))
	require.NoError(t, r.cmd.Wait(), r.err)
}

func parse(t *testing.T, stdout string) []ask.Line {
	t.Helper()
	var lines []ask.Line
	for text := range strings.Lines(stdout) {
		var l ask.Line
		dec := json.NewDecoder(strings.NewReader(text))
		dec.DisallowUnknownFields()
		require.NoError(t, dec.Decode(&l), text)
		lines = append(lines, l)
	}
	return lines
}

func TestAskStartsEverythingForOneCall(t *testing.T) {
	t.Parallel()
	w := setup(t)
	stdout, stderr, code := w.lark(t, "ask", "--json", "--plan", "all", w.track, "Key?", "Tempo?")
	require.Zero(t, code, stderr)
	require.Empty(t, stderr)
	lines := parse(t, stdout)
	require.Len(t, lines, 4)
	for _, l := range lines {
		require.Equal(t, client.OutcomeAnswered, l.State)
		require.NotEmpty(t, l.Answer)
		require.InDelta(t, 30, l.Track.DurationS, 0.01)
		require.InDelta(t, 25, l.Window.HeardS, 0.01)
		require.Equal(t, "miss", l.Cache)
		require.Contains(t, l.Model, "test")
		require.NotEmpty(t, l.TraceID)
	}
	_, running, err := up.Folder(w.data).Running()
	require.NoError(t, err)
	require.False(t, running, "it was stopped again")

	stdout, _, code = w.lark(t, "ask", "--json", w.track, "Metre?")
	require.Zero(t, code)
	require.Equal(t, "hit", parse(t, stdout)[0].Cache, "the embedding outlives the processes")
}

func TestUpServesAskAndJobs(t *testing.T) {
	t.Parallel()
	w := setup(t)
	r := w.up(t)
	require.Contains(t, r.out.String(), "docs "+r.gateway+"/docs")

	_, stderr, code := w.lark(t, "up")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, fmt.Sprintf("in use by process %d", r.cmd.Process.Pid))
	require.Contains(t, stderr, r.gateway)

	stdout, stderr, code := w.lark(t, "ask", w.track, "Key?", "Tempo?")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "Key?\n  ")
	require.Contains(t, stdout, "Tempo?\n  ")

	stdout, _, code = w.lark(t, "jobs", "list")
	require.Zero(t, code)
	id, rest, _ := strings.Cut(stdout, " ")
	require.Contains(t, rest, "succeeded")
	require.Contains(t, rest, "song.wav")
	stdout, _, code = w.lark(t, "jobs", "show", id)
	require.Zero(t, code)
	require.Contains(t, stdout, "answers  2 of 2")
	require.Contains(t, stdout, "Tempo?\n  ")
	_, stderr, code = w.lark(t, "jobs", "cancel", "--server", r.gateway, id)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "the job has ended: its state is succeeded")

	stdout, _, _ = w.lark(t, "doctor")
	require.Contains(t, stdout, r.gateway+" is ready")

	for _, args := range [][]string{{"jobs", "list"}, {"jobs", "show", id}, {"ask", w.track, "Key?"}, {"doctor"}, {"feed", "--help"}} {
		stderr, code = w.larkToFullDisk(t, args...)
		require.Equal(t, 1, code, args)
		require.Contains(t, stderr, "writing standard output: write /dev/stdout: no space left on device", args)
		require.NotContains(t, stderr, "panic", args)
	}
	stdout, _, code = w.lark(t, "jobs", "delete", id)
	require.Zero(t, code)
	require.Equal(t, id+"  deleted\n", stdout)
	_, stderr, code = w.lark(t, "jobs", "delete", id)
	require.Zero(t, code, "deleting again changes nothing: %s", stderr)
	_, stderr, code = w.lark(t, "jobs", "delete", "nothing")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "there is no such job")
	r.stop(t)
	_, stderr, code = w.lark(t, "jobs", "list")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "no lark up runs on")
}

// TestAKeyOpensAGatewayThatOthersReach: for lark; the stages send their traces to its admin address.
func TestAKeyOpensAGatewayThatOthersReach(t *testing.T) {
	t.Parallel()
	const key = "lk_first_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	w := setup(t)
	open := w.env
	w.env = append(slices.Clone(open), "LARK_ADMIN_KEY="+key, "LARK_TOKEN="+key)
	r := w.up(t, "--addr", "0.0.0.0:0")
	require.Contains(t, r.gateway, "127.0.0.1", "this machine reaches it on loopback")
	stdout, stderr, code := w.lark(t, "ask", w.track, "Key?")
	require.Zero(t, code, stderr)
	require.NotEmpty(t, stdout)
	require.Eventually(t, func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.admin+"/debug/traces?format=json", nil)
		require.NoError(t, err)
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		return strings.Contains(string(body), telemetry.ServiceChunker)
	}, patience, 20*time.Millisecond, "the stages send their spans")

	_, stderr, code = w.lark(t, "tenants", "create", "acme", "--open-jobs", "5")
	require.Zero(t, code, stderr)
	stdout, stderr, code = w.lark(t, "tenants", "limits", "acme", "--requests-per-s", "7")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "7 requests/s  5 open jobs", "what is not given stays")
	stdout, stderr, code = w.lark(t, "keys", "create", "--tenant", "acme", "--scope", "jobs:read", "--json")
	require.Zero(t, code, stderr)
	var made client.MadeKey
	require.NoError(t, json.Unmarshal([]byte(stdout), &made))
	admin := w.env
	w.env = append(slices.Clone(open), "LARK_TOKEN="+made.Secret)
	stdout, stderr, code = w.lark(t, "jobs", "list")
	require.Zero(t, code, stderr)
	require.Empty(t, stdout, "the job is another tenant's")
	_, stderr, code = w.lark(t, "keys", "list")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "scope admin")
	w.env = admin
	stdout, stderr, code = w.lark(t, "keys", "rotate", made.ID, "--overlap", "1h")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "shown this once")
	_, stderr, code = w.lark(t, "keys", "revoke", made.ID)
	require.Zero(t, code, stderr)
	stdout, _, code = w.lark(t, "keys", "list", "--tenant", "acme")
	require.Zero(t, code)
	require.Equal(t, 2, strings.Count(stdout, "\n"))
	require.Contains(t, stdout, "revoked")
	stdout, _, code = w.lark(t, "tenants", "list")
	require.Zero(t, code)
	require.Contains(t, stdout, "default")

	w.env = append(slices.Clone(open), "LARK_TOKEN=another")
	_, stderr, code = w.lark(t, "jobs", "list")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "LARK_TOKEN")
	r.stop(t)
}

func TestFeedIsAnsweredLikeAnyJob(t *testing.T) {
	t.Parallel()
	w := setup(t)
	r := w.up(t)
	jobs := filepath.Join(w.data, "jobs.jsonl")
	require.NoError(t, os.WriteFile(jobs, []byte(`{"audio":"song.wav","questions":["Key?"]}`+"\n"), 0o600))
	stdout, stderr, code := w.lark(t, "feed", "--json", jobs)
	require.Zero(t, code, stderr)
	var fed struct {
		JobID string `json:"job_id"`
		State string `json:"state"`
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &fed))
	require.Equal(t, "published", fed.State)
	gw, err := client.New(r.gateway, nil)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.Eventually(t, func() bool {
		job, err := gw.Get(ctx, fed.JobID)
		return err == nil && job.State == client.StateSucceeded
	}, patience, 50*time.Millisecond)

	stdout, _, code = w.lark(t, "feed", jobs)
	require.Zero(t, code)
	require.Equal(t, "0 published, 1 published before, 0 rejected\n", stdout)
	stdout, stderr, code = w.lark(t, "feed", "--retry-failed", jobs)
	require.Zero(t, code, stderr)
	require.Equal(t, "0 published, 1 published before, 0 rejected\n", stdout, "it has not failed")
	stdout, stderr, code = w.lark(t, "feed", "--pin-model", jobs)
	require.Zero(t, code, stderr)
	require.Equal(t, "1 published, 0 published before, 0 rejected\n", stdout, "with a model of its own it is another job")

	// The job's record is on the topic; published again, it changes nothing.
	stdout, stderr, code = w.lark(t, "topic", "dump", "lark.jobs.bulk.v1", "--key", fed.JobID)
	require.Zero(t, code, stderr)
	var dumped struct {
		Payload struct {
			JobID string `json:"job_id"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &dumped), "one line")
	require.Equal(t, fed.JobID, dumped.Payload.JobID)
	dump := filepath.Join(w.data, "dump.jsonl")
	require.NoError(t, os.WriteFile(dump, []byte(stdout), 0o600))
	stdout, stderr, code = w.lark(t, "topic", "replay", dump, "--topic", "lark.jobs.bulk.v1")
	require.Zero(t, code, stderr)
	require.Equal(t, "1 published, 0 refused\n", stdout)
	stdout, _, code = w.lark(t, "topic", "replay", "--json", dump, "--topic", "lark.windows.v1")
	require.Equal(t, 1, code, "the record is of another topic")
	require.Contains(t, stdout, `"state":"refused"`)
	require.Contains(t, stdout, `"published":0,"refused":1`)
	r.stop(t)
}

func TestAStageThatDiesComesBack(t *testing.T) {
	t.Parallel()
	w := setup(t)
	r := w.up(t)
	place, err := up.Folder(w.data).Place(up.Encoder)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(place.PID, syscall.SIGKILL))
	_, stderr, code := w.lark(t, "ask", w.track, "Key?")
	require.Zero(t, code, stderr)
	now, err := up.Folder(w.data).Place(up.Encoder)
	require.NoError(t, err)
	require.NotEqual(t, place.PID, now.PID)
	require.Contains(t, r.err.String(), "child died, starting it again")
	r.stop(t)
}

func TestAKilledUpTakesItsChildrenAlongAndTheNextOneTakesOver(t *testing.T) {
	t.Parallel()
	w := setup(t)
	r := w.up(t)
	_, stderr, code := w.lark(t, "ask", w.track, "Key?")
	require.Zero(t, code, stderr)
	broker, err := up.Folder(w.data).Place(up.Broker)
	require.NoError(t, err)
	pids := map[string]int{}
	for _, stage := range up.Stages() {
		place, err := up.Folder(w.data).Place(stage)
		require.NoError(t, err)
		pids[stage] = place.PID
	}
	require.NoError(t, r.cmd.Process.Kill())
	require.Error(t, r.cmd.Wait())

	again := w.up(t)
	for stage, pid := range pids {
		require.Eventually(t, func() bool { return gone(pid) }, patience, 10*time.Millisecond, stage)
	}
	now, err := up.Folder(w.data).Place(up.Broker)
	require.NoError(t, err)
	require.Equal(t, broker.KafkaAddr, now.KafkaAddr)
	stdout, stderr, code := w.lark(t, "ask", "--json", w.track, "Tempo?")
	require.Zero(t, code, stderr)
	require.Equal(t, "hit", parse(t, stdout)[0].Cache)
	again.stop(t)
}

// gone tells whether the process has ended; a zombie has.
func gone(pid int) bool {
	if syscall.Kill(pid, 0) == syscall.ESRCH {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func TestInterruptedAskCancelsItsJob(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.env = append(w.env, "LARK_LLM_TEST_DELAY=10m")
	r := w.up(t)
	out, errs := &output{}, &output{}
	cmd := exec.Command(executable, "ask", "--json", w.track, "Key?")
	cmd.Env, cmd.Stdout, cmd.Stderr = w.env, out, errs
	require.NoError(t, cmd.Start())
	gw, err := client.New(r.gateway, nil)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		list, err := gw.List(t.Context(), client.ListOptions{State: client.StateRunning})
		return err == nil && len(list.Jobs) == 1
	}, patience, 20*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait())
	require.Equal(t, 130, cmd.ProcessState.ExitCode())
	require.Contains(t, errs.String(), "was cancelled")
	lines := parse(t, out.String())
	require.Len(t, lines, 1)
	require.Equal(t, client.OutcomeCancelled, lines[0].State)
	require.Equal(t, "cancelled", lines[0].Error.Code)
	r.stop(t)
}

// TestInterruptBetweenSubmissionAndAnswer: the gateway has made the job, but its answer does not come before the interrupt.
func TestInterruptBetweenSubmissionAndAnswer(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.env = append(w.env, "LARK_LLM_TEST_DELAY=10m")
	r := w.up(t)
	gateway, err := url.Parse(r.gateway)
	require.NoError(t, err)
	made := make(chan string, 1)
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) { pr.SetURL(gateway) },
		ModifyResponse: func(resp *http.Response) error {
			if resp.StatusCode == http.StatusAccepted && resp.Header.Get("Location") != "" { // a job was made
				made <- path.Base(resp.Header.Get("Location"))
				<-resp.Request.Context().Done()
			}
			return nil
		},
		ErrorLog: log.New(io.Discard, "", 0),
	})
	defer proxy.Close()
	errs := &output{}
	cmd := exec.Command(executable, "ask", "--server", proxy.URL, w.track, "Key?")
	cmd.Env, cmd.Stderr = w.env, errs
	require.NoError(t, cmd.Start())
	id := <-made
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait())
	require.Equal(t, 130, cmd.ProcessState.ExitCode(), errs.String())
	require.Contains(t, errs.String(), "job "+id+" was cancelled")
	gw, err := client.New(r.gateway, nil)
	require.NoError(t, err)
	job, err := gw.Get(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, client.StateCancelled, job.State)
	r.stop(t)
}

func TestAskTellsWhyNothingWasAnswered(t *testing.T) {
	t.Parallel()
	w := setup(t)
	bad := filepath.Join(w.data, "text.mp3")
	require.NoError(t, os.WriteFile(bad, []byte(strings.Repeat("this is not music ", 100)), 0o600))
	stdout, stderr, code := w.lark(t, "ask", "--json", bad, "Key?")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "0 of 1 questions were answered")
	lines := parse(t, stdout)
	require.Len(t, lines, 1)
	require.Equal(t, client.OutcomeFailed, lines[0].State)
	require.Equal(t, "audio_undecodable", lines[0].Error.Code)
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for _, args := range [][]string{
		{"ask"},
		{"ask", w.track},
		{"ask", "--response-schema", "poem", w.track, "Key?"},
		{"ask", "--schema", "poem", w.track, "Key?"},
		{"ask", "--windows", "9-1", w.track, "Key?"},
		{"ask", "--spans", "9-1", w.track, "Key?"},
		{"ask", "--plan", "all", "--spans", "0-25", w.track, "Key?"},
		{"ask", "--plan", "explicit", w.track, "Key?"},
		{"ask", "--plan", "all", "--windows", "all", w.track, "Key?"},
		{"ask", "--nonsense"},
		{"jobs", "show"},
		{"serve"},
		{"serve", "tuba"},
		{"up", "extra"},
		{"bench", "pipeline", "--windows", "0"},
		{"bench", "lanes", "--queued", "1"},
		{"ask", "--lane", "fast", w.track, "Key?"},
	} {
		_, stderr, code := w.lark(t, args...)
		require.Equal(t, 2, code, args)
		require.Contains(t, stderr, "Try lark --help", args)
	}
	_, stderr, code := w.lark(t, "ask", filepath.Join(w.data, "missing.mp3"), "Key?")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "missing.mp3")
}

func TestVersionAndCompletion(t *testing.T) {
	t.Parallel()
	w := setup(t)
	stdout, _, code := w.lark(t, "version", "--json")
	require.Zero(t, code)
	var v map[string]string
	require.NoError(t, json.Unmarshal([]byte(stdout), &v))
	require.NotEmpty(t, v["version"])
	for _, shell := range []string{"bash", "zsh", "fish"} {
		stdout, _, code = w.lark(t, "completion", shell)
		require.Zero(t, code)
		require.Contains(t, stdout, "lark")
	}
}

func TestDoctorFailsWhereSomethingIsMissing(t *testing.T) {
	t.Parallel()
	w := setup(t)
	stdout, _, code := w.lark(t, "doctor", "--json", "--addr", "127.0.0.1:0")
	require.Zero(t, code)
	var report struct {
		Healthy  bool
		Findings []struct{ Check, State, Detail string }
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &report))
	require.True(t, report.Healthy)
	require.NotEmpty(t, report.Findings)

	require.NoError(t, os.WriteFile(filepath.Join(w.model, "llm.safetensors"), []byte("damaged"), 0o600))
	stdout, _, code = w.lark(t, "doctor")
	require.Equal(t, 1, code)
	require.Contains(t, stdout, "fail  model")
	_, stderr, code := w.lark(t, "up")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "llm.safetensors")
}
