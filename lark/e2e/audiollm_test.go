package e2e

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/native/nativetest"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/up"
)

// TestAudioModels runs a small random model of each family through the binaries: windows of 30 s, cache hits, killed stages and a cancel.
func TestAudioModels(t *testing.T) {
	if world.kafka != nil {
		t.Skip("the other tests meet the same broker; this one is of the models, and on the embedded broker")
	}
	for _, family := range audiobundle.FamilyNames() {
		t.Run(family, func(t *testing.T) { testAudioModel(t, family) })
	}
}

func testAudioModel(t *testing.T, family string) {
	bundle := filepath.Join(t.TempDir(), "bundle")
	m, err := audiobundle.Random(t.Context(), audiobundle.RandomConfig{Preset: "tiny", Family: family, Seed: 3, Quant: "f32", Out: bundle}, func(int64, int64) {})
	require.NoError(t, err)
	b, err := model.LoadComplete(bundle)
	require.NoError(t, err)
	s := start(t, options{data: t.TempDir(), env: []string{
		"LARK_MODEL_DIR=" + bundle, "LARK_NATIVE_DIR=" + nativetest.Dir(t), "LARK_LLM_THREADS=1",
	}})
	const trackS, windows = 70, 3
	track := melody(seedOf(t), trackS)
	sub := client.Submission{
		Questions: []string{"What is the tempo?", "Which key is it in?"}, Plan: client.PlanAll, Decode: &client.Decode{MaxTokens: 8},
	}
	job := s.submit(t, track, sub)
	s.reach(t, job.ID, 1)
	s.kill(t, up.Encoder)
	s.kill(t, up.LLM)
	job, outcomes := s.finish(t, job.ID)
	require.Equal(t, client.StateSucceeded, job.State, "%+v", outcomes)
	require.Equal(t, windows, job.Counts.Windows)
	for _, o := range outcomes {
		start := float64(30 * o.Window.Index)
		require.Equal(t, []float64{start, min(start+30, trackS)}, []float64{o.Window.StartS, o.Window.EndS})
		require.Equal(t, b.DisplayName(), o.Model)
		require.Contains(t, o.Model, m.Name)
	}

	s.ready(t)
	runs := s.encoderRuns(t)
	sub.Questions = []string{"What instruments do you hear?"}
	job, outcomes = s.finish(t, s.submit(t, track, sub).ID)
	require.Equal(t, client.StateSucceeded, job.State)
	for _, o := range outcomes {
		require.Equal(t, "hit", o.Cache)
	}
	require.Equal(t, runs, s.encoderRuns(t), "a second question about a track never reaches the encoder")

	sub.Decode.MaxTokens = 1000
	cancelled := s.submit(t, melody(seedOf(t), trackS), sub)
	_, err = s.Cancel(t.Context(), cancelled.ID)
	require.NoError(t, err)
	job, _ = s.finish(t, cancelled.ID)
	require.Zero(t, job.Counts.Failed)
	require.Zero(t, s.metric(t, up.Gateway, "lark_ledger_imbalance"))
}
