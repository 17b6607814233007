package decoder_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/decoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/modeltest"
	"github.com/larkstream/larkstream/engine/tensor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func bundle(t *testing.T, change func(*model.Manifest)) *model.Bundle {
	t.Helper()
	m := modeltest.Manifest()
	change(&m)
	b, err := model.LoadComplete(modeltest.Write(t, m))
	require.NoError(t, err)
	return b
}

func TestOpenTakesTheBundlesEngineUnlessAnotherIsNamed(t *testing.T) {
	t.Parallel()
	b := bundle(t, func(*model.Manifest) {})
	e, err := decoder.OpenMeasured(b, decoder.Options{})
	require.NoError(t, err)
	require.NoError(t, e.Close())

	o := decoder.Options{Engine: decoder.Test}
	require.Equal(t, b.DisplayName()+" (test engine)", o.ModelName(b))
	e2, err := decoder.Open(b, o)
	require.NoError(t, err)
	soft := tensor.Matrix{Rows: 2, Cols: b.LLM.Hidden, Data: make([]float32, 2*b.LLM.Hidden)}
	got, err := e2.Answer(t.Context(), decoder.Request{Soft: soft, Questions: []decoder.Question{{Text: "what key?"}}})
	require.NoError(t, err)
	require.NotEmpty(t, got[0].Text)
	require.NoError(t, e2.Close())
	_, err = decoder.OpenMeasured(b, o)
	require.ErrorContains(t, err, `engine "test" has no scheduler to measure`)
}

func TestOpenRefusesAnUnknownEngine(t *testing.T) {
	t.Parallel()
	_, err := decoder.Open(bundle(t, func(m *model.Manifest) { m.LLM.Engine = "abacus" }), decoder.Options{})
	require.ErrorContains(t, err, `asks for engine "abacus"`)
}

func TestValidateReportsAllFaults(t *testing.T) {
	t.Parallel()
	require.NoError(t, decoder.Options{}.Validate())
	err := decoder.Options{Engine: "abacus", Device: "tpu", Threads: -1, TestDelay: -1, VLLM: decoder.VLLM{URL: "gpu-1"}}.Validate()
	for _, want := range []string{`engine: "abacus" is not reference, nano, llamacpp, vllm or test`, `device: "tpu"`, "threads", "test_delay", "vllm_in_flight"} {
		require.ErrorContains(t, err, want)
	}
}
