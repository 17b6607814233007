package cli

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/server"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
)

// deadWorld is a gateway on an embedded broker, without stages.
type deadWorld struct {
	client *client.Client
	url    string
	kafka  kafka.Config
}

func startDeadWorld(t *testing.T) *deadWorld {
	t.Helper()
	broker, err := kafka.StartBroker(kafka.BrokerConfig{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	w := &deadWorld{kafka: kafka.Config{Brokers: []string{broker.Addr()}}}
	cfg, err := server.DefaultConfig()
	require.NoError(t, err)
	dir := t.TempDir()
	cfg.HTTPAddr, cfg.KafkaBrokers, cfg.StateFile, cfg.LogLevel = "127.0.0.1:0", w.kafka.Brokers, filepath.Join(dir, "gateway.json"), "error"
	cfg.BlobURL, cfg.DatabaseURL = config.Secret("file://"+filepath.Join(dir, "blobs")), config.Secret("sqlite://"+filepath.Join(dir, "gateway.db"))
	cfg.ModelDir = filepath.Join(dir, "none")
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx, cfg) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
		http.DefaultClient.CloseIdleConnections()
	})
	var state struct {
		HTTPAddr string `json:"http_addr"`
	}
	require.Eventually(t, func() bool {
		raw, err := os.ReadFile(cfg.StateFile)
		return err == nil && json.Unmarshal(raw, &state) == nil
	}, time.Minute, 10*time.Millisecond)
	w.url = "http://" + state.HTTPAddr
	w.client, err = client.New(w.url, nil)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := w.client.DeadLetters(t.Context(), client.DeadFilter{}, false, "", 1)
		return err == nil
	}, time.Minute, 10*time.Millisecond, "the gateway has made its topics")
	return w
}

// bury writes the dead letters of these jobs, as the llm stage does.
func (w *deadWorld) bury(t *testing.T, jobs ...string) {
	t.Helper()
	producer, err := kafka.NewProducer(w.kafka, kafka.Deps{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, producer.Close(context.Background())) }()
	sum := strings.Repeat("cd", 32)
	for _, job := range jobs {
		rec, err := event.Encode("test", &eventpb.PromptReady{Key: "prompt/v1/x", Frames: 1, Width: 1, Task: &eventpb.Task{
			JobId: job, Track: &eventpb.Track{Sha256: sum}, Window: &eventpb.Window{Hash: sum, BlobKey: event.PCMKey(sum)},
			Questions: []*eventpb.Question{{Text: "Key?"}},
		}})
		require.NoError(t, err)
		rec = rec.With(event.HeaderStage, event.StageLLM).With(event.HeaderReason, event.CodeEngineError).
			With(event.HeaderErrorText, "out of \x1b[31mmemory").With(event.HeaderOriginTopic, rec.Topic)
		rec.Topic = event.TopicDead
		require.NoError(t, producer.Publish(t.Context(), rec))
	}
}

func (w *deadWorld) job(t *testing.T) client.Job {
	t.Helper()
	job, err := w.client.Submit(t.Context(), client.Submission{Questions: []string{"Key?"}},
		&client.Upload{Name: "a.wav", Reader: strings.NewReader("RIFF " + t.Name())}, client.SubmitOptions{})
	require.NoError(t, err)
	return job
}

// dead runs lark dead.
func (w *deadWorld) dead(t *testing.T, wantCode int, args ...string) (stdout, stderr string) {
	t.Helper()
	stdout, stderr, code := mainOf(t, append([]string{"dead", "--server", w.url}, args...)...)
	require.Equal(t, wantCode, code, "lark dead %q: %s%s", args, stdout, stderr)
	return stdout, stderr
}

// TestDead: an operator lists dead letters, looks at one, sends back what its owner allows, and purges the rest.
func TestDead(t *testing.T) {
	t.Parallel()
	w := startDeadWorld(t)
	job := w.job(t)
	w.bury(t, job.ID, "nobody")

	text, _ := w.dead(t, exitOK, "list")
	require.Equal(t, 2, strings.Count(text, "\n"))
	require.Regexp(t, `^0-0 +buried +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +llm +engine_error +`+job.ID+` +out of `, text)
	require.NotContains(t, text, "\x1b", "what a record says does not reach the terminal as it is")
	text, _ = w.dead(t, exitOK, "list", "--json", "--job", job.ID, "--reason", "engine_error", "--stage", "llm", "--since", "1h")
	var letter client.DeadLetter
	require.NoError(t, json.Unmarshal([]byte(text), &letter))
	require.Equal(t, []string{"0-0", job.ID, event.TopicPrompts}, []string{letter.ID, letter.JobID, letter.OriginTopic})
	text, _ = w.dead(t, exitOK, "list", "--until", "1h")
	require.Empty(t, text)
	text, _ = w.dead(t, exitOK, "list", "--limit", "1")
	require.Equal(t, 1, strings.Count(text, "\n"))

	text, _ = w.dead(t, exitOK, "show", "0-0")
	require.NoError(t, json.Unmarshal([]byte(text), &letter))
	require.Contains(t, letter.Payload, "task")
	_, stderr := w.dead(t, exitFailed, "show", "0-99")
	require.Contains(t, stderr, "not found")

	text, stderr = w.dead(t, exitFailed, "redrive", "--everything")
	require.Equal(t, "0 sent back, 2 refused\n", text)
	require.Contains(t, stderr, "0-0 refused (not_allowed)")
	require.Contains(t, stderr, "lark jobs supersede "+job.ID, "the remedy")
	require.Contains(t, stderr, "0-1 refused (unknown_job)")
	_, stderr, code := mainOf(t, "jobs", "supersede", job.ID, "--server", w.url)
	require.Equal(t, exitOK, code, stderr)
	text, _ = w.dead(t, exitOK, "redrive", "--job", job.ID, "--dry-run")
	require.Equal(t, "1 would be sent back, 0 refused\n", text)
	text, _ = w.dead(t, exitOK, "redrive", "--job", job.ID, "--json", "--rate", "100")
	var result client.DeadResult
	require.NoError(t, json.Unmarshal([]byte(text), &result))
	require.Equal(t, client.DeadResult{Done: 1, IDs: []string{"0-0"}, Refused: []client.DeadRefusal{}}, result)
	text, _ = w.dead(t, exitOK, "list")
	require.NotContains(t, text, "0-0", "it is no longer buried")
	text, _ = w.dead(t, exitOK, "list", "--all", "--json", "--job", job.ID)
	require.NoError(t, json.Unmarshal([]byte(text), &letter))
	require.Equal(t, client.DeadRedriven, letter.State)

	text, _ = w.dead(t, exitOK, "purge", "0-1", "--dry-run")
	require.Equal(t, "1 would be purged, 0 refused\n", text)
	text, _ = w.dead(t, exitOK, "purge", "0-1")
	require.Equal(t, "1 purged, 0 refused\n", text)
	text, _ = w.dead(t, exitOK, "list", "--all")
	require.Empty(t, text, "no letter before it is left: both are deleted")
}

func TestDeadSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"name letters, select them by --reason":            {"redrive"},
		"or give --everything":                             {"purge", "--dry-run"},
		"--rate must be between 0 and 1000":                {"redrive", "--everything", "--rate", "-1"},
		"--limit must be above 0":                          {"list", "--limit", "0"},
		`--since "yesterday" is no time: give one such as`: {"list", "--since", "yesterday"},
		`--until "-2h" is no time`:                         {"purge", "--until", "-2h"},
		"accepts 1 arg(s), received 0":                     {"show"},
		`lark dead has no subcommand "revive"`:             {"revive"},
	} {
		_, stderr, code := mainOf(t, append([]string{"dead"}, args...)...)
		require.Equal(t, exitUsage, code, "lark dead %q: %s", args, stderr)
		require.Contains(t, stderr, want)
	}
}
