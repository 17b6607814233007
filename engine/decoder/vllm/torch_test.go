package vllm

import (
	"archive/zip"
	"bytes"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/vllm/vllmtest"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/checkpoint"
	"github.com/larkstream/larkstream/engine/model/modeltest"
)

// awkward are values that every type rounds in its own way.
var awkward = []float32{0, float32(math.Copysign(0, -1)), 1, -2.5, 1.0 / 3, 65504, 1e-8, 6.1e-5, 3.140625, -1234.567, 0.1, 255.5}

func TestTorchSave(t *testing.T) {
	t.Parallel()
	for name, e := range elements {
		raw := e.encode(awkward)
		file, err := torchSave(e, 3, 4, raw)
		require.NoError(t, err)
		again, err := torchSave(e, 3, 4, raw)
		require.NoError(t, err)
		require.Equal(t, file, again)
		got, err := vllmtest.ReadTensor(file)
		require.NoError(t, err)
		require.Equal(t, []any{e.storage, 3, 4, raw}, []any{got.Storage, got.Rows, got.Cols, got.Raw})
		want, err := model.ToF32(name, raw)
		require.NoError(t, err)
		require.Equal(t, want, got.Values)
		for i, v := range awkward {
			require.InEpsilon(t, float64(v)+1, float64(got.Values[i])+1, 0.01, "%s of %v", name, v)
		}
	}
}

var update = flag.Bool("update", false, "write testdata/*.pt anew; then run testdata/torch_load.py")

// TestTorchSaveWritesWhatTorchHasRead: testdata/torch_load.py has loaded these files with PyTorch and found the values in them.
func TestTorchSaveWritesWhatTorchHasRead(t *testing.T) {
	t.Parallel()
	for name, e := range elements {
		file, err := torchSave(e, 3, 4, e.encode(awkward))
		require.NoError(t, err)
		path := filepath.Join("testdata", strings.ToLower(name)+".pt")
		if *update {
			require.NoError(t, os.WriteFile(path, file, 0o600))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, file)
	}
}

// TestTheCheckpointReaderReadsIt compares with the reader that is tested on files of PyTorch itself. It wants a state dict, so the tensor
// is put into one.
func TestTheCheckpointReaderReadsIt(t *testing.T) {
	t.Parallel()
	for name, e := range elements {
		raw := e.encode(awkward)
		file, err := torchSave(e, 4, 3, raw)
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), "prompt.pt")
		require.NoError(t, os.WriteFile(path, inDictionary(t, file), 0o600))
		f, err := checkpoint.Open(path)
		require.NoError(t, err)
		info, ok := f.Info("w")
		require.True(t, ok)
		require.Equal(t, checkpoint.Info{Name: "w", DType: name, Shape: []int{4, 3}}, info)
		var got []byte
		require.NoError(t, f.Read(t.Context(), "w", func(piece []byte) error { got = append(got, piece...); return nil }))
		require.Equal(t, raw, got)
		require.NoError(t, f.Close())
	}
}

// inDictionary puts the tensor of a file under the key "w".
func inDictionary(t *testing.T, file []byte) []byte {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range r.File {
		src, err := f.Open()
		require.NoError(t, err)
		data, err := io.ReadAll(src)
		require.NoError(t, err)
		if f.Name == "archive/data.pkl" {
			data = slices.Concat([]byte("\x80\x02}X\x01\x00\x00\x00w"), data[2:len(data)-1], []byte("s."))
		}
		dst, err := w.CreateHeader(&zip.FileHeader{Name: f.Name, Method: zip.Store})
		require.NoError(t, err)
		_, err = dst.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func TestTorchSaveRefuses(t *testing.T) {
	t.Parallel()
	e := elements["F16"]
	for _, c := range []struct{ rows, cols, bytes int }{{0, 4, 0}, {4, 0, 0}, {-1, -4, 8}, {2, 3, 11}, {math.MaxInt32, 2, 8}} {
		_, err := torchSave(e, c.rows, c.cols, make([]byte, c.bytes))
		require.ErrorContains(t, err, "writing a tensor")
	}
}

func TestTheReaderOfTestsIsStrict(t *testing.T) {
	t.Parallel()
	e := elements["BF16"]
	file, err := torchSave(e, 2, 3, e.encode(awkward[:6]))
	require.NoError(t, err)
	for at := range file {
		broken := bytes.Clone(file)
		broken[at] ^= 0x10
		got, err := vllmtest.ReadTensor(broken)
		if err == nil { // only what says nothing: versions, dates and attributes
			require.Equal(t, 2, got.Rows)
			require.Equal(t, e.encode(awkward[:6]), got.Raw)
		}
		_, err = vllmtest.ReadTensor(file[:at])
		require.Error(t, err)
	}
}

func TestFinite(t *testing.T) {
	t.Parallel()
	for name, e := range elements {
		require.True(t, e.finite(e.encode(awkward)), name)
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
			require.False(t, e.finite(e.encode(append([]float32{1}, bad))), name)
		}
	}
	require.False(t, elements["F16"].finite(elements["F16"].encode([]float32{70000})), "too large for a half")
}

// TestTableTypes: prompts have the type of the bundle's embeddings, and no other is taken.
func TestTableTypes(t *testing.T) {
	t.Parallel()
	b := modeltest.Bundle(t)
	values := make([]float32, b.LLM.Vocab*b.LLM.Hidden)
	for i := range values {
		values[i] = float32(i%97) / 8
	}
	write := func(dtype, name string, columns int) {
		b.LLM.File = name + dtype + ".safetensors"
		require.NoError(t, model.WriteSafetensors(b.LLMPath(), []model.Tensor{
			{Name: name, DType: dtype, Shape: []int{len(values) / columns, columns}, Data: values},
		}))
	}
	for dtype, want := range map[string]string{"BF16": "BFloat16Storage", "F16": "HalfStorage", "F32": "FloatStorage"} {
		write(dtype, safetensorsTable, b.LLM.Hidden)
		table, err := openTable(b)
		require.NoError(t, err)
		require.Equal(t, want, table.storage)
		rows, err := table.rows([]int{5, 262})
		require.NoError(t, err)
		require.Equal(t, elements[dtype].encode(append(slices.Clone(values[5*32:6*32]), values[262*32:263*32]...)), rows)
		require.NoError(t, table.close())
	}
	write("BF16", safetensorsTable, b.LLM.Hidden/2)
	_, err := openTable(b)
	require.ErrorContains(t, err, "is expected")
	write("BF16", "lm_head.weight", b.LLM.Hidden)
	_, err = openTable(b)
	require.ErrorContains(t, err, "no tensor")
}
