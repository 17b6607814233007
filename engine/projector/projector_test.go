package projector

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/modeltest"
	"github.com/larkstream/larkstream/engine/tensor"
)

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
	p := &Projector{in: weight.Cols, out: weight.Rows, layers: []layer{{weight.Data, bias.Data}}}
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
		{Name: Names("")[0] + ".weight", DType: "F32", Shape: []int{2, 2}, Data: make([]float32, 4)},
	}))
	_, err = Open(b)
	require.ErrorContains(t, err, Names("")[0]+".weight")
	bias := make([]float32, b.Projector.Out)
	bias[1] = float32(math.NaN())
	require.NoError(t, model.WriteSafetensors(b.ProjectorPath(), []model.Tensor{
		{Name: Names("")[0] + ".weight", DType: "F32", Shape: []int{b.Projector.Out, b.Projector.In}, Data: make([]float32, b.Projector.Out*b.Projector.In)},
		{Name: Names("")[0] + ".bias", DType: "F32", Shape: []int{b.Projector.Out}, Data: bias},
	}))
	_, err = Open(b)
	require.ErrorContains(t, err, "NaN or infinity")
	require.NoError(t, os.Remove(b.ProjectorPath()))
	_, err = Open(b)
	require.ErrorContains(t, err, "opening projector")
}
