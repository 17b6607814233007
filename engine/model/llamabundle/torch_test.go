package llamabundle_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/llamabundle"
)

// torchSave writes tensors in float32 as torch.save does since PyTorch 1.6: a pickled dictionary of views, and the storages beside it.
func torchSave(t *testing.T, path string, tensors []model.Tensor) {
	t.Helper()
	var p, file bytes.Buffer
	archive := zip.NewWriter(&file)
	put := func(name string, data []byte) {
		w, err := archive.CreateHeader(&zip.FileHeader{Name: "archive/" + name, Method: zip.Store})
		require.NoError(t, err)
		_, err = w.Write(data)
		require.NoError(t, err)
	}
	text := func(s string) {
		p.WriteByte('X')
		p.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(s))))
		p.WriteString(s)
	}
	numbers := func(values ...int) {
		p.WriteByte('(')
		for _, v := range values {
			p.WriteByte('J')
			p.Write(binary.LittleEndian.AppendUint32(nil, uint32(v)))
		}
		p.WriteByte('t')
	}
	p.WriteString("\x80\x02ccollections\nOrderedDict\n)R(")
	for i, tensor := range tensors {
		text(tensor.Name)
		p.WriteString("ctorch._utils\n_rebuild_tensor_v2\n((")
		text("storage")
		p.WriteString("ctorch\nFloatStorage\n")
		text(strconv.Itoa(i))
		text("cpu")
		p.WriteByte('J')
		p.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(tensor.Data))))
		p.WriteString("tQK\x00")
		numbers(tensor.Shape...)
		strides := []int{1}
		if len(tensor.Shape) == 2 {
			strides = []int{tensor.Shape[1], 1}
		}
		numbers(strides...)
		p.WriteString("\x89ccollections\nOrderedDict\n)RtR")
		var raw []byte
		for _, v := range tensor.Data {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
		}
		put(fmt.Sprintf("data/%d", i), raw)
	}
	p.WriteString("u.")
	put("data.pkl", p.Bytes())
	require.NoError(t, archive.Close())
	require.NoError(t, os.WriteFile(path, file.Bytes(), 0o600))
}

func TestPyTorchShardsGiveTheSameBundle(t *testing.T) {
	t.Parallel()
	dir := folder(t, "F32", 2)
	want, err := importTo(t, llamabundle.ImportConfig{Folder: dir})
	require.NoError(t, err)
	index := map[string]string{}
	for i := 1; i <= 2; i++ {
		old := filepath.Join(dir, fmt.Sprintf("model-%05d-of-00002.safetensors", i))
		s, err := model.OpenSafetensors(old)
		require.NoError(t, err)
		var tensors []model.Tensor
		name := fmt.Sprintf("pytorch_model-%05d-of-00002.bin", i)
		for _, tensor := range s.Names() {
			info, _ := s.Info(tensor)
			data, err := s.F32(tensor)
			require.NoError(t, err)
			tensors = append(tensors, model.Tensor{Name: tensor, Shape: info.Shape, Data: data})
			index[tensor] = name
		}
		require.NoError(t, s.Close())
		torchSave(t, filepath.Join(dir, name), tensors)
		require.NoError(t, os.Remove(old))
	}
	raw, err := json.Marshal(map[string]any{"weight_map": index})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pytorch_model.bin.index.json"), raw, 0o600))
	remove(t, dir, "model.safetensors.index.json")
	got, err := importTo(t, llamabundle.ImportConfig{Folder: dir})
	require.NoError(t, err)
	require.Equal(t, want.Digest, got.Digest)
}
