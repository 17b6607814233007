package model_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
)

func TestMappedTensors(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "w.safetensors")
	require.NoError(t, model.WriteSafetensors(path, []model.Tensor{
		{Name: "half", DType: "F16", Shape: []int{2, 1}, Data: []float32{1, -2}},
		{Name: "single", DType: "F32", Shape: []int{1}, Data: []float32{3}},
	}))
	m, err := model.OpenMapped(path)
	require.NoError(t, err)
	got, err := m.Bytes("half", "F16", 2, 1)
	require.NoError(t, err)
	require.Equal(t, []byte{0, 0x3c, 0, 0xc0}, got)
	got, err = m.Bytes("single", "F32", 1)
	require.NoError(t, err)
	require.Equal(t, []byte{0, 0, 0x40, 0x40}, got)
	_, err = m.Bytes("half", "F16", 1, 2)
	require.ErrorContains(t, err, `"half" is F16 [2 1], where F16 [1 2] is expected`)
	_, err = m.Bytes("half", "F32", 2, 1)
	require.ErrorContains(t, err, "where F32 [2 1] is expected")
	_, err = m.Bytes("none", "F32", 1)
	require.ErrorContains(t, err, `no tensor "none"`)
	require.NoError(t, m.Close())
	_, err = model.OpenMapped(path + ".none")
	require.ErrorContains(t, err, "opening weights")
}
