package llmsvc_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/decoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/llamabundle"
	"github.com/larkstream/larkstream/engine/model/modeltest"
	"github.com/larkstream/larkstream/engine/native/nativetest"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/services/llm-svc/llmsvc"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/config/configtest"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// world is a running llm-svc between a broker and an object store.
type world struct {
	bundle  *model.Bundle
	kafka   kafka.Config
	prompts cache.Cache
	send    *kafka.Producer
	answers chan *eventpb.Outcome
	windows chan *eventpb.WindowReady
	tokens  chan *eventpb.TokenDelta
	// schema is the form of the answers that ask asks for.
	schema string
}

func setup(t *testing.T, change func(*llmsvc.Config)) *world {
	t.Helper()
	broker, err := kafka.StartBroker(kafka.BrokerConfig{Log: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	w := &world{
		kafka: kafka.Config{Brokers: []string{broker.Addr()}}, answers: make(chan *eventpb.Outcome, 1000),
		windows: make(chan *eventpb.WindowReady, 1000), tokens: make(chan *eventpb.TokenDelta, 10000),
	}
	require.NoError(t, kafka.Provision(t.Context(), w.kafka, event.Topics()))

	cfg, err := llmsvc.DefaultConfig()
	require.NoError(t, err)
	cfg.KafkaBrokers, cfg.LogLevel = w.kafka.Brokers, "error"
	cfg.ModelDir = modeltest.Write(t, modeltest.Manifest())
	cfg.BlobURL = config.Secret("file://" + t.TempDir())
	change(&cfg)
	w.bundle, err = model.Load(cfg.ModelDir)
	require.NoError(t, err)
	w.open(t, cfg)
	watched, err := event.Watched("test", "job-1", time.Now()) // or no tokens would be published
	require.NoError(t, err)
	require.NoError(t, w.send.Publish(t.Context(), watched))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- llmsvc.Run(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return w
}

// open connects the test's own ends: cache, producer, and readers of what the service writes.
func (w *world) open(t *testing.T, cfg llmsvc.Config) {
	t.Helper()
	store, err := blob.Open(t.Context(), cfg.BlobURL.Reveal())
	require.NoError(t, err)
	w.prompts, err = cache.Open(t.Context(), "", store, cache.Deps{Log: quiet, Metrics: telemetry.NewCacheMetrics()})
	require.NoError(t, err)
	w.send, err = kafka.NewProducer(w.kafka, kafka.Deps{Log: quiet})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, w.send.Close(context.Background()))
		require.NoError(t, w.prompts.Close())
		require.NoError(t, store.Close())
	})
	for _, topic := range []string{event.TopicAnswers, event.TopicWindows, event.TopicEvents} {
		w.follow(t, topic)
	}
}

func (w *world) follow(t *testing.T, topic string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	_, wait := kafka.Tail(ctx, w.kafka, topic, kafka.Earliest, func(rec event.Record, _ int32, _ int64) {
		msg, err := event.Decode(rec)
		if err != nil {
			return
		}
		switch m := msg.(type) {
		case *eventpb.Outcome:
			w.answers <- m
		case *eventpb.WindowReady:
			w.windows <- m
		case *eventpb.Event:
			if d := m.GetToken(); d != nil {
				w.tokens <- d
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		require.NoError(t, wait())
	})
}

// ask publishes a window with its questions; its soft prompt is stored first if frames is not 0.
func (w *world) ask(t *testing.T, index, frames int, questions ...string) {
	t.Helper()
	hash := strings.Repeat(string("0123456789abcdef"[index%16]), 64)
	if frames > 0 {
		soft := tensor.Matrix{Rows: frames, Cols: w.bundle.LLM.Hidden, Data: make([]float32, frames*w.bundle.LLM.Hidden)}
		for i := range soft.Data {
			soft.Data[i] = float32((i*(index+3))%17)/8 - 1
		}
		require.NoError(t, w.prompts.Put(t.Context(), w.bundle.PromptKey(hash), soft))
	}
	task := &eventpb.Task{
		JobId: "job-1", Track: &eventpb.Track{Sha256: strings.Repeat("cd", 32), DurationS: 600},
		Window: &eventpb.Window{Index: uint32(index), Hash: hash, BlobKey: event.PCMKey(hash), Span: &eventpb.Span{EndS: 25}, HeardS: 25, Samples: 1102500},
		Cache:  eventpb.Cache_CACHE_MISS, CreatedUnixMs: time.Now().UnixMilli(), ModelDigest: w.bundle.Digest,
		ResponseSchema: w.schema,
	}
	for i, q := range questions {
		task.Questions = append(task.Questions, &eventpb.Question{Index: uint32(i), Text: q})
	}
	rec, err := event.Encode("projector", &eventpb.PromptReady{Task: task, Key: w.bundle.PromptKey(hash), Frames: uint32(max(frames, 1)), Width: uint32(w.bundle.LLM.Hidden)})
	require.NoError(t, err)
	require.NoError(t, w.send.Publish(t.Context(), rec))
}

// export writes a bundle's decoder as GGUF and gives the new bundle's folder.
func export(t *testing.T, dir string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "gguf")
	_, err := llamabundle.Export(t.Context(), llamabundle.ExportConfig{Model: dir, Quant: "f32", Out: out}, func(int64, int64) {})
	require.NoError(t, err)
	return out
}

// TestQuestionsAreAnsweredThroughKafka is not parallel: it looks at trace ids, and the tracer of a process ends with the
// first service that ends.
func TestQuestionsAreAnsweredThroughKafka(t *testing.T) {
	for _, engine := range []string{"", decoder.Test, decoder.LlamaCPP} {
		t.Run("engine="+engine, func(t *testing.T) {
			w := setup(t, func(c *llmsvc.Config) {
				c.Engine = engine
				if engine == decoder.LlamaCPP {
					c.NativeDir, c.ModelDir = nativetest.Dir(t), export(t, c.ModelDir)
				}
			})
			for i := range 10 {
				w.ask(t, i, 20, "what is the tempo", "what is the key", strings.Repeat("x ", 2000))
			}
			seen, tooLong := map[string]*eventpb.Outcome{}, 0
			for range 30 {
				o := <-w.answers
				require.NotContains(t, seen, o.GetOutcomeId())
				seen[o.GetOutcomeId()] = o
				if o.GetError().GetCode() == event.CodePromptTooLong {
					tooLong++
					continue
				}
				require.Equal(t, eventpb.State_STATE_ANSWERED, o.GetState(), o.GetError().GetMessage())
				require.Regexp(t, "^tiny(-gguf)? 0", o.GetModel())
				require.Equal(t, engine == decoder.Test, strings.Contains(o.GetModel(), "test engine"))
				require.Greater(t, o.GetTokens().GetPrompt(), uint32(20))
				require.NotEmpty(t, o.GetTraceId())
			}
			if engine != decoder.Test {
				require.Equal(t, 10, tooLong)
			}
			require.NotNil(t, <-w.tokens)
		})
	}
}

func TestAnEvictedPromptComesBackAsAWindow(t *testing.T) {
	t.Parallel()
	w := setup(t, func(c *llmsvc.Config) { c.Engine = decoder.Test })
	w.ask(t, 4, 0, "what is the key")
	require.EqualValues(t, 4, (<-w.windows).GetTask().GetWindow().GetIndex())
	w.ask(t, 4, 20, "what is the key")
	require.EqualValues(t, 4, (<-w.answers).GetWindow().GetIndex())
	require.Empty(t, w.windows)
}

func TestCancelEndsARunningQuestion(t *testing.T) {
	t.Parallel()
	w := setup(t, func(c *llmsvc.Config) { c.Engine, c.TestDelay = decoder.Test, time.Hour })
	w.ask(t, 1, 20, "one", "two")
	rec, err := event.Encode("gateway", &eventpb.Control{JobId: "job-1", Kind: "cancel", AtUnixMs: time.Now().UnixMilli()})
	require.NoError(t, err)
	require.NoError(t, w.send.Publish(t.Context(), rec))
	for range 2 {
		o := <-w.answers
		require.Equal(t, eventpb.State_STATE_CANCELLED, o.GetState())
		require.Equal(t, event.CodeCancelled, o.GetError().GetCode())
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	configtest.Complete(t, func() any { return new(llmsvc.Config) }, "testdata/complete.yaml")
	cfg, err := llmsvc.DefaultConfig()
	require.NoError(t, err)
	require.NoError(t, cfg.Validate())
	cfg.Engine, cfg.Concurrency, cfg.TestDelay, cfg.LogLevel, cfg.Device = "abacus", 0, -1, "loud", "tpu"
	cfg.VLLMURL, cfg.VLLMInFlight = "gpu-1", 0
	err = cfg.Validate()
	for _, want := range []string{"abacus", "concurrency", "test_delay", "loud", "device", "vllm_url", "vllm_in_flight"} {
		require.ErrorContains(t, err, want)
	}
	cfg, err = llmsvc.DefaultConfig()
	require.NoError(t, err)
	cfg.Engine = decoder.VLLMServer
	require.ErrorContains(t, cfg.Validate(), `vllm_url: ""`)
}

func TestCommandRefusesAMissingBundle(t *testing.T) {
	t.Parallel()
	err := llmsvc.Command(t.Context(), []string{"--model-dir", t.TempDir(), "--kafka-brokers", "127.0.0.1:1"})
	require.ErrorContains(t, err, "model.yaml")
}
