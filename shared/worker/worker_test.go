package worker_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/modeltest"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
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

func TestServesUntilItsContextEndsAndClosesInReverse(t *testing.T) {
	common := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w, err := worker.Open(ctx, common, "test-svc", model.Load)
	require.NoError(t, err)
	var closed []string
	w.OnClose(func() error { closed = append(closed, "first"); return nil })
	w.OnClose(func() error { closed = append(closed, "second"); return errors.New("stuck") })

	handled := make(chan string, 1)
	begin := make(chan struct{})
	served := make(chan error, 1)
	go func() {
		served <- w.Serve(ctx, worker.Work{
			Stage: "chunker", Topic: event.TopicJobs, Concurrency: 1, RecordBytes: 1, After: begin,
			Parts: []service.Part{{Name: "engine", Run: func(ctx context.Context) error { close(begin); <-ctx.Done(); return nil }}},
			Handle: func(_ context.Context, rec event.Record) ([]event.Record, error) {
				handled <- rec.Key
				return nil, nil
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
	require.NoError(t, <-served)
	err = w.Close(ctx, nil)
	require.ErrorContains(t, err, "stopping test-svc: stuck")
	require.Equal(t, []string{"second", "first"}, closed)
}

func TestWhatWasOpenedIsClosedWhenOpeningFails(t *testing.T) {
	common := setup(t)
	common.ModelDir = t.TempDir()
	_, err := worker.Open(t.Context(), common, "test-svc", model.Load)
	require.ErrorContains(t, err, "model.yaml")

	common = setup(t)
	common.EncoderPrecision = "bf16"
	_, err = worker.Open(t.Context(), common, "test-svc", model.Load)
	require.ErrorContains(t, err, "has f32 only", "the bundle follows the configuration")

	common = setup(t)
	common.BlobURL = "ftp://nowhere"
	_, err = worker.Open(t.Context(), common, "test-svc", model.Load)
	require.Error(t, err)
}
