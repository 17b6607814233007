package worker

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/modeltest"
	"github.com/larkstream/larkstream/shared/event"
)

// loading is a loader of a bundle of random weights that uses the decoder's file.
func loading(t *testing.T, open func(context.Context, func(string)) (Opened, error)) *loader {
	t.Helper()
	b, err := model.Read(modeltest.Write(t, modeltest.Manifest()))
	require.NoError(t, err)
	return newLoader(b, []model.Part{model.PartLLM}, open, slog.New(slog.DiscardHandler))
}

func TestLoadingIsToldAndTheStageBeginsAtItsEnd(t *testing.T) {
	t.Parallel()
	var l *loader
	var told []string
	handled, closed := 0, 0
	l = loading(t, func(_ context.Context, tell func(string)) (Opened, error) {
		told = append(told, l.Ready().Error())
		tell("the engine warms up")
		told = append(told, l.Ready().Error())
		handle := func(context.Context, event.Record, proto.Message) ([]event.Record, error) { handled++; return nil, nil }
		return Opened{Handle: handle, Close: func() error { closed++; return errors.New("stuck") }}, nil
	})
	require.EqualError(t, l.Ready(), "the model is being loaded")
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- l.Run(ctx) }()
	begun := l.then(func(ctx context.Context) error {
		_, err := l.Handle(ctx, event.Record{}, nil)
		return err
	})
	require.NoError(t, begun(ctx))
	require.NoError(t, l.Ready())
	require.Equal(t, 1, handled)
	require.Equal(t, []string{"the model is being loaded: 100 % of its files have been checked", "the engine warms up"}, told)
	cancel()
	require.EqualError(t, <-ran, "stuck")
	require.Equal(t, 1, closed)
}

func TestLoadingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	l := loading(t, func(ctx context.Context, _ func(string)) (Opened, error) {
		cancel()
		return Opened{}, context.Cause(ctx)
	})
	require.NoError(t, l.Run(ctx))
	require.Error(t, l.Ready())
	stage := l.then(func(context.Context) error { return errors.New("must not begin") })
	require.NoError(t, stage(ctx))
	require.NoError(t, l.Run(ctx), "in the middle of a file")
}

func TestADamagedPartEndsTheServiceAndAnUnusedOneDoesNot(t *testing.T) {
	t.Parallel()
	open := func(context.Context, func(string)) (Opened, error) { return Opened{}, errors.New("opened") }
	l := loading(t, open)
	require.NoError(t, os.WriteFile(l.bundle.ProjectorPath(), []byte("damaged"), 0o600))
	require.EqualError(t, l.Run(t.Context()), "loading the model: opened")

	require.NoError(t, os.WriteFile(l.bundle.LLMPath(), []byte("damaged"), 0o600))
	err := l.Run(t.Context())
	require.ErrorContains(t, err, "loading the model: checking ")
	require.ErrorContains(t, err, "llm.safetensors: its sha256 is")
	require.ErrorContains(t, err, "fetch the bundle again")
}
