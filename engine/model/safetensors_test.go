package model

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/internal/alloctest"
)

func raw(header string, data int) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), make([]byte, data)...)
}

func open(b []byte) (*Safetensors, error) {
	return readSafetensors("test", bytes.NewReader(b), int64(len(b)))
}

func TestWrittenTensorsAreReadBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "w.safetensors")
	values := []float32{0, 1, -2.5, 0.125, 1024, -0.5}
	require.NoError(t, WriteSafetensors(path, []Tensor{
		{"z", "F32", []int{2, 3}, values}, {"half", "F16", []int{6}, values}, {"brain", "BF16", []int{3, 2}, values}, {"empty", "F32", []int{0}, nil},
	}))
	s, err := OpenSafetensors(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.Equal(t, []string{"brain", "empty", "half", "z"}, s.Names())
	for name, shape := range map[string][]int{"z": {2, 3}, "half": {6}, "brain": {3, 2}} {
		got, err := s.F32(name, shape...)
		require.NoError(t, err)
		require.Equal(t, values, got, name)
	}
	info, ok := s.Info("half")
	require.True(t, ok)
	require.Equal(t, "F16", info.DType)
	_, err = s.F32("z", 3, 2)
	require.ErrorContains(t, err, `tensor "z" has shape [2 3], where [3 2] is expected`)
	_, err = s.F32("y")
	require.ErrorContains(t, err, `no tensor "y"`)
	require.NoFileExists(t, path+".tmp")
}

func TestALargeTensorIsReadInPieces(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "w.safetensors")
	values := make([]float32, 1<<18+5)
	for i := range values {
		values[i] = float32(i)
	}
	require.NoError(t, WriteSafetensors(path, []Tensor{{"w", "F32", []int{len(values)}, values}}))
	s, err := OpenSafetensors(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	got, err := s.F32("w")
	require.NoError(t, err)
	require.Equal(t, values, got)
}

func TestWriterRefusesWhatItCannotWrite(t *testing.T) {
	t.Parallel()
	for _, tensors := range [][]Tensor{
		{{"a", "I8", []int{1}, []float32{1}}},
		{{"a", "F32", []int{2}, []float32{1}}},
		{{"a", "F32", []int{1}, []float32{1}}, {"a", "F32", []int{1}, []float32{1}}},
	} {
		path := filepath.Join(t.TempDir(), "w")
		require.ErrorContains(t, WriteSafetensors(path, tensors), "cannot be written")
		require.NoFileExists(t, path)
	}
}

func TestDamagedHeadersAreRefused(t *testing.T) {
	t.Parallel()
	one := func(dtype, shape, offsets string) string {
		return `{"a":{"dtype":"` + dtype + `","shape":` + shape + `,"data_offsets":` + offsets + `}}`
	}
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty file":        {nil, "too short"},
		"header too long":   {raw("{}", 0)[:9], "does not fit"},
		"huge header":       {append(bytes.Repeat([]byte{0xff}, 8), '{'), "does not fit"},
		"not JSON":          {raw("hello", 0), "not a JSON object"},
		"array":             {raw("[]", 0), "not a JSON object"},
		"cut JSON":          {raw(`{"a":`, 0), "tensor"},
		"unknown type":      {raw(one("F12", "[1]", "[0,4]"), 4), "unknown"},
		"negative shape":    {raw(one("F32", "[-1]", "[0,4]"), 4), "out of range"},
		"overflow":          {raw(one("F32", "[4294967296,4294967296]", "[0,4]"), 4), "out of range"},
		"many dimensions":   {raw(one("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4), "too many"},
		"wrong size":        {raw(one("F32", "[2]", "[0,4]"), 4), "needs 8 bytes"},
		"negative offset":   {raw(one("F32", "[1]", "[-4,0]"), 4), "needs 4 bytes"},
		"beyond the end":    {raw(one("F32", "[2]", "[0,8]"), 4), "cut short"},
		"bytes left over":   {raw(one("F32", "[1]", "[0,4]"), 8), "cut short"},
		"gap":               {raw(one("F32", "[1]", "[4,8]"), 8), "starts at 4"},
		"overlap":           {raw(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), "starts at 4, where 8"},
		"same name twice":   {raw(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), "occurs twice"},
		"metadata not text": {raw(`{"__metadata__":{"a":[1]}}`, 0), "metadata"},
	} {
		_, err := open(c.file)
		require.ErrorContains(t, err, c.want, name)
	}
}

func TestForeignElementTypesPassTheHeaderButAreNotRead(t *testing.T) {
	t.Parallel()
	s, err := open(raw(`{"__metadata__":{"format":"pt"},"ids":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}}  `, 16))
	require.NoError(t, err)
	_, err = s.F32("ids")
	require.ErrorContains(t, err, "holds I64")
}

func TestOpeningAMissingFileNamesIt(t *testing.T) {
	t.Parallel()
	_, err := OpenSafetensors(filepath.Join(t.TempDir(), "gone.safetensors"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "gone.safetensors")
}

// FuzzSafetensors: whatever the bytes, opening either fails or gives tensors that lie inside the file.
func FuzzSafetensors(f *testing.F) {
	f.Add(raw(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8))
	f.Add(raw(`{"a":{"dtype":"F16","shape":[2,1],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[],"data_offsets":[4,6]}}`, 6))
	f.Add(raw(`{"__metadata__":{}}`, 0))
	f.Add([]byte(strings.Repeat("\x00", 8)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s *Safetensors
		var err error
		alloctest.Bound(t, len(b), 64<<10, 200, func() { s, err = open(b) })
		if err != nil {
			return
		}
		for _, name := range s.Names() {
			info, _ := s.Info(name)
			require.LessOrEqual(t, s.data+info.End, int64(len(b)))
			if v, err := s.F32(name); err == nil {
				require.LessOrEqual(t, 2*len(v), len(b))
			}
		}
	})
}
