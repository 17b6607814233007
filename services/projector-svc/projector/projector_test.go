package projector

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/config/configtest"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/model"
	"github.com/larkstream/larkstream/shared/model/modeltest"
	"github.com/larkstream/larkstream/shared/stage/stagetest"
	"github.com/larkstream/larkstream/shared/tensor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var npyShape = regexp.MustCompile(`'descr': '<f4', 'fortran_order': False, 'shape': \((\d+), ?(\d*)\)`)

// readNPY reads a little-endian float32 .npy file of one or two dimensions.
func readNPY(t *testing.T, name string) tensor.Matrix {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "splice", name+".npy"))
	require.NoError(t, err)
	m := npyShape.FindSubmatch(raw)
	require.NotNil(t, m, "header of %s", name)
	rows, err := strconv.Atoi(string(m[1]))
	require.NoError(t, err)
	cols := 1
	if len(m[2]) > 0 {
		cols, err = strconv.Atoi(string(m[2]))
		require.NoError(t, err)
	}
	out := tensor.Matrix{Rows: rows, Cols: cols, Data: make([]float32, rows*cols)}
	data := raw[10+int(binary.LittleEndian.Uint16(raw[8:])):]
	require.NoError(t, binary.Read(bytes.NewReader(data), binary.LittleEndian, out.Data))
	return out
}

// The case was computed by the reference implementation's own linear layer (PyTorch, float32).
func TestProjectionAgreesWithTheReference(t *testing.T) {
	t.Parallel()
	frames, weight, bias, want := readNPY(t, "frames"), readNPY(t, "projector_weight"), readNPY(t, "projector_bias"), readNPY(t, "projected")
	p := &Projector{in: weight.Cols, out: weight.Rows, weight: weight.Data, bias: bias.Data}
	got, err := p.Project(frames)
	require.NoError(t, err)
	require.Equal(t, []int{73, 48}, []int{got.Rows, got.Cols})
	for i, v := range want.Data {
		require.InDelta(t, v, got.Data[i], 2e-5, "element %d", i)
	}
}

func TestOpenReadsTheBundle(t *testing.T) {
	t.Parallel()
	b := modeltest.Bundle(t)
	p, err := Open(b)
	require.NoError(t, err)
	require.Equal(t, b.LLM.Hidden, p.Width())
	_, err = p.Project(tensor.Matrix{Rows: 2, Cols: 5, Data: make([]float32, 10)})
	require.ErrorIs(t, err, ErrShape)

	require.NoError(t, model.WriteSafetensors(b.ProjectorPath(), []model.Tensor{
		{Name: weightName, DType: "F32", Shape: []int{2, 2}, Data: make([]float32, 4)},
	}))
	_, err = Open(b)
	require.ErrorContains(t, err, weightName)
	bias := make([]float32, b.Projector.Out)
	bias[1] = float32(math.NaN())
	require.NoError(t, model.WriteSafetensors(b.ProjectorPath(), []model.Tensor{
		{Name: weightName, DType: "F32", Shape: []int{b.Projector.Out, b.Projector.In}, Data: make([]float32, b.Projector.Out*b.Projector.In)},
		{Name: biasName, DType: "F32", Shape: []int{b.Projector.Out}, Data: bias},
	}))
	_, err = Open(b)
	require.ErrorContains(t, err, "NaN or infinity")
	require.NoError(t, os.Remove(b.ProjectorPath()))
	_, err = Open(b)
	require.ErrorContains(t, err, "opening projector")
}

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
	p, err := Open(b)
	require.NoError(t, err)
	want, err := p.Project(embedding)
	require.NoError(t, err)
	for _, m := range prompts {
		require.Len(t, m.GetTask().GetQuestions(), 2)
		require.Equal(t, b.PromptKey(m.GetTask().GetWindow().GetHash()), m.GetKey())
		got, err := tensors.Get(t.Context(), m.GetKey())
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
