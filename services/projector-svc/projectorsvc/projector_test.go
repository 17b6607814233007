package projectorsvc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/modeltest"
	"github.com/larkstream/larkstream/engine/projector"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/config/configtest"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage/stagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ready(b *model.Bundle, i int) *eventpb.EmbeddingReady {
	hash := sha256.New()
	fmt.Fprint(hash, i)
	window := event.HexSum(hash)
	return &eventpb.EmbeddingReady{
		Task: &eventpb.Task{
			JobId: "job", Track: &eventpb.Track{Sha256: hex.EncodeToString(make([]byte, 32)), DurationS: 60},
			Window:    &eventpb.Window{Index: uint32(i), Hash: window, BlobKey: event.PCMKey(window), Span: &eventpb.Span{EndS: 25}},
			Questions: []*eventpb.Question{{Text: "What is the tempo?"}, {Index: 1, Text: "Which key?"}}, Cache: eventpb.Cache_CACHE_HIT,
		},
		Key: b.EmbeddingKey(window), Frames: 3, Width: uint32(b.Encoder.Width),
	}
}

// The service on a real broker: two windows with embeddings, one whose embedding is gone.
func TestService(t *testing.T) { //nolint:paralleltest // telemetry is global
	rig := stagetest.New(t)
	modelDir := modeltest.Write(t, modeltest.Manifest())
	b, err := model.Load(modelDir)
	require.NoError(t, err)
	tensors := cache.NewBlob(rig.Blobs, cache.F32)
	embedding := tensor.Matrix{Rows: 3, Cols: b.Encoder.Width, Data: make([]float32, 3*b.Encoder.Width)}
	for i := range embedding.Data {
		embedding.Data[i] = float32(i%7) / 7
	}
	for _, i := range []int{0, 1} {
		require.NoError(t, tensors.Put(t.Context(), ready(b, i).GetKey(), embedding))
	}
	svc := rig.Start(t, Command, modelDir)
	rig.Publish(t, ready(b, 0), ready(b, 1), ready(b, 2))

	prompts := stagetest.Of[*eventpb.PromptReady](t, rig.Await(t, event.TopicPrompts, 2))
	p, err := projector.Open(b)
	require.NoError(t, err)
	want, err := p.Project(embedding)
	require.NoError(t, err)
	for _, m := range prompts {
		require.Len(t, m.GetTask().GetQuestions(), 2)
		require.Equal(t, b.PromptKey(m.GetTask().GetWindow().GetHash()), m.GetKey())
		got, err := tensors.Get(t.Context(), m.GetKey(), cache.Shape{})
		require.NoError(t, err)
		require.InDeltaSlice(t, want.Data, got.Data, 2e-3, "stored as 16-bit floats")
	}
	back := stagetest.Of[*eventpb.WindowReady](t, rig.Await(t, event.TopicWindows, 1))
	require.EqualValues(t, 2, back[0].GetTask().GetWindow().GetIndex())
	require.Equal(t, eventpb.Cache_CACHE_MISS, back[0].GetTask().GetCache())
	require.NoError(t, svc.Stop())
}

func TestConfig(t *testing.T) {
	t.Parallel()
	configtest.Complete(t, func() any { return &Config{} }, "testdata/complete.yaml")
	cfg, err := DefaultConfig()
	require.NoError(t, err)
	require.NoError(t, cfg.Validate())
	cfg.Concurrency = -1
	require.ErrorContains(t, cfg.Validate(), "concurrency: -1 is below 0")
	require.Error(t, Command(context.Background(), []string{"--no-such-flag"}))
}
