package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/modeltest"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/host"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/service"
	"github.com/larkstream/larkstream/shared/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// setup returns the settings of a worker with a random bundle on an embedded broker.
func setup(t *testing.T) service.Common {
	t.Helper()
	broker, err := kafka.StartBroker(kafka.BrokerConfig{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	var common service.Common
	require.NoError(t, config.Defaults(&common))
	common.KafkaBrokers, common.BlobURL, common.LogLevel = []string{broker.Addr()}, "mem://", "error"
	common.ModelDir = modeltest.Write(t, modeltest.Manifest())
	require.NoError(t, kafka.Provision(t.Context(), kafka.Config{Brokers: common.KafkaBrokers}, event.Topics()))
	return common
}

func TestServesUntilItsContextEndsAndClosesWhatItOpened(t *testing.T) {
	common := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w, err := worker.Open(ctx, host.Host{}, common, "test-svc", model.PartEncoder)
	require.NoError(t, err)
	handled := make(chan string, 1)
	served := make(chan error, 1)
	go func() {
		served <- w.Serve(ctx, worker.Work{
			Step: w.Step("chunker", nil), Topic: event.TopicJobs, Concurrency: 1, RecordBytes: 1,
			Open: func(context.Context, func(string)) (worker.Opened, error) {
				return worker.Opened{
					Handle: func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
						handled <- rec.Key
						return nil, nil
					},
					Close: func() error { return errors.New("stuck") },
				}, nil
			},
		})
	}()
	hash := strings.Repeat("ab", 32)
	job, err := event.Encode("test", &eventpb.Job{
		JobId: "job-1", Audio: &eventpb.Audio{Sha256: hash, BlobKey: event.AudioKey(hash)}, Plan: eventpb.PlanMode_PLAN_MODE_AUTO,
		Questions: []*eventpb.Question{{Text: "What key?"}},
	})
	require.NoError(t, err)
	require.NoError(t, w.Producer.Publish(ctx, job))
	require.Equal(t, "job-1", <-handled)
	cancel()
	require.EqualError(t, <-served, "running engine: stuck")
	require.NoError(t, w.Close(ctx, nil))
}

// TestHealthIsServedWhileTheModelIsLoaded: a probe that asks whether the process lives must not wait for gigabytes of weights.
func TestHealthIsServedWhileTheModelIsLoaded(t *testing.T) {
	common := setup(t)
	common.StateFile = filepath.Join(t.TempDir(), "state.json")
	w, err := worker.Open(t.Context(), host.Host{}, common, "test-svc", model.PartLLM)
	require.NoError(t, err)
	var answers []string
	asked := make(chan struct{})
	work := worker.Work{
		Step: w.Step("llm", w.Bundle.PromptKey), Topic: event.TopicPrompts, Concurrency: 1, RecordBytes: 1,
		Open: func(_ context.Context, tell func(string)) (worker.Opened, error) {
			tell("the engine warms up")
			defer close(asked)
			raw, err := os.ReadFile(common.StateFile)
			if err != nil {
				return worker.Opened{}, err
			}
			live, liveErr := ask(raw, "/healthz")
			ready, readyErr := ask(raw, "/readyz")
			answers = []string{live, ready}
			if err := errors.Join(liveErr, readyErr); err != nil {
				return worker.Opened{}, err
			}
			return worker.Opened{}, errors.New("no memory left")
		},
	}
	err = w.Close(t.Context(), w.Serve(t.Context(), work))
	require.ErrorContains(t, err, "running engine: loading the model: no memory left", "a fault of loading ends the service")
	<-asked
	require.Contains(t, answers[0], "200 OK")
	require.Contains(t, answers[1], "503 Service Unavailable")
	require.Contains(t, answers[1], `"engine":"the engine warms up"`)
	require.Error(t, w.Serve(t.Context(), worker.Work{}))
}

// ask returns status and body of a path of the service whose state file is given.
func ask(state []byte, path string) (string, error) {
	var at struct {
		HTTPAddr string `json:"http_addr"`
	}
	if err := json.Unmarshal(state, &at); err != nil {
		return "", err
	}
	defer http.DefaultClient.CloseIdleConnections()
	resp, err := http.Get("http://" + at.HTTPAddr + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.Status + " " + string(body), err
}

func TestWhatWasOpenedIsClosedWhenOpeningFails(t *testing.T) {
	common := setup(t)
	common.ModelDir = t.TempDir()
	_, err := worker.Open(t.Context(), host.Host{}, common, "test-svc")
	require.ErrorContains(t, err, "model.yaml")

	common = setup(t)
	common.EncoderPrecision = "bf16"
	_, err = worker.Open(t.Context(), host.Host{}, common, "test-svc")
	require.ErrorContains(t, err, "has f32 only", "the bundle follows the configuration")

	common = setup(t)
	encoderOnly := modeltest.Manifest()
	encoderOnly.Projector, encoderOnly.LLM, encoderOnly.Prompt = model.Projector{}, model.LLM{}, model.Prompt{}
	require.NoError(t, encoderOnly.Seal(common.ModelDir))
	_, err = worker.Open(t.Context(), host.Host{}, common, "test-svc", model.PartProjector)
	require.ErrorContains(t, err, "has an encoder only")

	common = setup(t)
	common.BlobURL = "ftp://nowhere"
	_, err = worker.Open(t.Context(), host.Host{}, common, "test-svc")
	require.Error(t, err)
}
