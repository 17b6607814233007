package gguf

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/internal/alloctest"
	"github.com/larkstream/larkstream/engine/tensor"
)

// meta has a value of every type that is written.
var meta = []KV{
	{"general.architecture", "llama"},
	{"llama.block_count", uint32(2)},
	{"llama.rope.freq_base", float32(10000)},
	{"tokenizer.ggml.add_bos_token", true},
	{"tokenizer.ggml.tokens", []string{"<s>", "", "▁a"}},
	{"tokenizer.ggml.scores", []float32{0, -1}},
	{"tokenizer.ggml.token_type", []int32{3, 1, -1}},
}

var shapes = []Tensor{
	{Name: "odd", Type: F32, Shape: []int{3}}, // 12 bytes: padding follows
	{Name: "half", Type: F16, Shape: []int{2, 5}},
	{Name: "brain", Type: BF16, Shape: []int{1, 2, 3}},
	{Name: "q", Type: Q8_0, Shape: []int{3, 64}},
}

// encode writes a file with the values 0, 1, 2, ... in each tensor.
func encode(tb testing.TB, meta []KV, tensors []Tensor) []byte {
	tb.Helper()
	var file bytes.Buffer
	require.NoError(tb, Stream(&file, meta, tensors, func(t Tensor, w io.Writer) error {
		raw, err := Encode(nil, t.Type, count(t.Elements()))
		if err != nil {
			return err
		}
		_, err = w.Write(raw)
		return err
	}))
	return file.Bytes()
}

func count(n int64) []float32 {
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(i)
	}
	return values
}

func parse(raw []byte) (*File, error) { return read(bytes.NewReader(raw), int64(len(raw))) }

func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.gguf")
	require.NoError(t, os.WriteFile(path, encode(t, meta, shapes), 0o600))
	f, err := Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	require.Equal(t, path, f.Path())
	for _, kv := range meta {
		require.Equal(t, kv.Value, f.meta[kv.Key], kv.Key)
	}
	require.Len(t, f.Tensors(), len(shapes))
	for _, want := range shapes {
		got, ok := f.Tensor(want.Name)
		require.True(t, ok)
		require.Equal(t, want.Shape, got.Shape)
		require.Equal(t, want.Type, got.Type)
		require.Zero(t, got.offset%32, "aligned")
		values, err := f.F32(t.Context(), want.Name)
		require.NoError(t, err)
		within := 0.0
		if want.Type == Q8_0 {
			within = float64(got.Elements()) / 127 / 2 * 1.01
		}
		for i, v := range values {
			require.InDelta(t, i, v, within, want.Name)
		}
		require.Len(t, values, int(want.Elements()))
	}
	n, err := f.Int("llama.block_count")
	require.NoError(t, err)
	require.Equal(t, 2, n)
	base, err := Value[float32](f, "llama.rope.freq_base")
	require.NoError(t, err)
	require.InDelta(t, 10000, base, 0)
	require.True(t, f.Has("general.architecture"))
	_, err = Value[string](f, "llama.block_count")
	require.ErrorContains(t, err, "llama.block_count is of type uint32, where string is expected")
	_, err = Value[string](f, "gone")
	require.ErrorContains(t, err, "have no gone")
	_, err = f.Int("general.architecture")
	require.ErrorContains(t, err, "no integer")
	_, err = f.Int("gone")
	require.ErrorContains(t, err, "have no gone")
	_, err = f.F32(t.Context(), "gone")
	require.ErrorContains(t, err, `no tensor "gone"`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = f.F32(ctx, "q")
	require.ErrorIs(t, err, context.Canceled)
}

func TestReadPassesWholeBlocks(t *testing.T) {
	t.Parallel()
	f, err := parse(encode(t, nil, []Tensor{{Name: "q", Type: Q8_0, Shape: []int{1 << 15, 64}}}))
	require.NoError(t, err)
	pieces, total := 0, 0
	require.NoError(t, f.Read(t.Context(), "q", func(p []byte) error {
		require.Zero(t, len(p)%34)
		pieces, total = pieces+1, total+len(p)
		return nil
	}))
	require.Equal(t, 3, pieces)
	require.Equal(t, 1<<21/32*34, total)
	stop := errors.New("enough")
	require.ErrorIs(t, f.Read(t.Context(), "q", func([]byte) error { return stop }), stop)
}

// testdata/q8_0.bin is what ggml_quantize_chunk of ggml 0.25.1 made of q8_0.f32: blocks of zeros, of halves between two steps,
// of subnormals, and of random values of 40 magnitudes.
func TestReadAt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.gguf")
	require.NoError(t, os.WriteFile(path, encode(t, meta, shapes), 0o600))
	f, err := Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	want, err := Encode(nil, F16, count(10))
	require.NoError(t, err)
	row := make([]byte, 10)
	require.NoError(t, f.ReadAt("half", row, 10))
	require.Equal(t, want[10:], row)
	require.ErrorContains(t, f.ReadAt("half", row, 11), "not inside its 20")
	require.ErrorContains(t, f.ReadAt("half", row, -1), "not inside")
	require.ErrorContains(t, f.ReadAt("half", make([]byte, 21), 0), "not inside")
	require.ErrorContains(t, f.ReadAt("whole", row, 0), "no tensor")
}

func TestQ8EqualsTheReference(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("testdata", "q8_0.f32"))
	require.NoError(t, err)
	want, err := os.ReadFile(filepath.Join("testdata", "q8_0.bin"))
	require.NoError(t, err)
	values, err := Decode(nil, F32, raw)
	require.NoError(t, err)
	got, err := Encode(nil, Q8_0, values)
	require.NoError(t, err)
	require.Equal(t, want, got)
	back, err := Decode(nil, Q8_0, got)
	require.NoError(t, err)
	for at := 0; at < len(values); at += 32 {
		largest := 0.0
		for _, v := range values[at : at+32] {
			largest = max(largest, math.Abs(float64(v)))
		}
		for i := at; i < at+32; i++ {
			require.InDelta(t, values[i], back[i], largest*(0.5/127+1.0/2048)+0x1p-25*127)
		}
	}
}

func TestElementsAreRoundedToNearest(t *testing.T) {
	t.Parallel()
	raw, err := Encode(nil, BF16, []float32{1.00390625, 1.01171875})
	require.NoError(t, err)
	require.Equal(t, []byte{0x80, 0x3f, 0x82, 0x3f}, raw, "to even")
	raw, err = Encode(nil, F16, []float32{1.00048828125, -2})
	require.NoError(t, err)
	require.Equal(t, []byte{0x00, 0x3c, 0x00, 0xc0}, raw)
	_, err = Encode(nil, Q8_0, make([]float32, 31))
	require.ErrorContains(t, err, "31 values in blocks of 32")
	_, err = Encode(nil, F16, []float32{-70000})
	require.ErrorContains(t, err, "-70000 as F16")
	_, err = Encode(nil, Q8_0, append(make([]float32, 31), 9e6))
	require.ErrorContains(t, err, "above 8 million")
	_, err = Encode(nil, 2, nil)
	require.ErrorContains(t, err, "Q4_0, where")
	_, err = Decode(nil, 12, make([]byte, 144))
	require.ErrorContains(t, err, "Q4_K, where")
	_, err = Decode(nil, F32, make([]byte, 5))
	require.ErrorContains(t, err, "5 bytes as F32")
}

func TestStreamRefusesWhatCannotBeWritten(t *testing.T) {
	t.Parallel()
	none := func(Tensor, io.Writer) error { return nil }
	for want, tensors := range map[string][]Tensor{
		`"a" is given twice`:       {{Name: "a", Shape: []int{1}}, {Name: "a", Shape: []int{1}}},
		"a name of 64 bytes":       {{Name: strings.Repeat("n", 64), Shape: []int{1}}},
		"shape []":                 {{Name: "a"}},
		"shape [0]":                {{Name: "a", Shape: []int{0}}},
		"[1 1 1 1 1]":              {{Name: "a", Shape: []int{1, 1, 1, 1, 1}}},
		"out of range":             {{Name: "a", Shape: []int{1 << 30, 1 << 30}}},
		"of type 99, which":        {{Name: "a", Type: 99, Shape: []int{1}}},
		"rows of 33 elements":      {{Name: "a", Type: Q8_0, Shape: []int{33}}},
		"4 bytes of 4 are missing": {{Name: "a", Shape: []int{1}}},
	} {
		require.ErrorContains(t, Stream(io.Discard, nil, tensors, none), want)
	}
	require.ErrorContains(t, Stream(io.Discard, []KV{{"k", 1}}, nil, none), "type int cannot")
	require.ErrorContains(t, Stream(io.Discard, []KV{{"k", true}, {"k", true}}, nil, none), "given twice")
}

// A damaged file names its fault.
func TestDamagedFilesAreRefused(t *testing.T) {
	t.Parallel()
	good := encode(t, meta, shapes)
	_, err := parse(good)
	require.NoError(t, err)
	for _, size := range []int{0, 3, 11, 30, 200} {
		_, err := parse(good[:size])
		require.Error(t, err, size)
	}
	_, err = parse(good[:len(good)-32])
	require.ErrorContains(t, err, "where its tensors end at")
	require.ErrorContains(t, err, "fetch it again")
	_, err = parse(good[:100])
	require.ErrorContains(t, err, "does not end within 100 bytes")
	_, err = parse([]byte("<html></html>"))
	require.ErrorContains(t, err, "another kind of file")

	vocabulary := encode(t, []KV{{"llama.block_count", uint32(2)}}, nil)
	_, err = parse(vocabulary[:4+4+8+8+8+len("llama.block_count")+4+4])
	require.NoError(t, err, "without tensors nothing follows the metadata")

	change := func(at int, raw ...byte) []byte {
		return append(append(bytes.Clone(good[:at]), raw...), good[at+len(raw):]...)
	}
	for want, raw := range map[string][]byte{
		"version is 50331648":           change(4, 0, 0, 0, 3),
		"are more than":                 change(8, 0xff, 0xff, 0xff, 0xff),
		"does not end within":           change(24, 0xff, 0xff, 0, 0),
		"a text of":                     change(24, 0xff, 0xff, 0xff, 0xff),
		"a value of type 77":            change(24+8+len("general.architecture"), 77),
		"begins at 32, where 64 is":     bytes.Replace(good, binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, 30), 64), binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, 30), 32), 1),
		"shape [3 0]":                   bytes.Replace(good, []byte("\x02\x00\x00\x00\x40\x00"), []byte("\x02\x00\x00\x00\x00\x00"), 1),
		"tensor 0 \"odd\": 9 dimension": bytes.Replace(good, []byte("odd\x01"), []byte("odd\x09"), 1),
	} {
		_, err := parse(raw)
		require.ErrorContains(t, err, want)
	}
	twice := encode(t, []KV{{"aa", true}, {"ab", true}}, []Tensor{{Name: "ta", Shape: []int{1}}, {Name: "tb", Shape: []int{1}}})
	_, err = parse(bytes.Replace(twice, []byte("ab"), []byte("aa"), 1))
	require.ErrorContains(t, err, `metadata "aa" occur twice`)
	_, err = parse(bytes.Replace(twice, []byte("tb"), []byte("ta"), 1))
	require.ErrorContains(t, err, `tensor "ta" occurs twice`)
	for _, v := range []any{uint32(0), uint32(3), "x", uint32(1 << 30)} {
		_, err = parse(encode(t, []KV{{"general.alignment", v}}, nil))
		require.ErrorContains(t, err, "general.alignment")
	}
}

func FuzzRead(f *testing.F) {
	good := encode(f, meta, shapes)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(encode(f, []KV{{"general.alignment", uint32(64)}}, shapes))
	for at := 0; at < len(good); at += 7 {
		f.Add(append(append(bytes.Clone(good[:at]), 0xff), good[at+1:]...))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var file *File
		var err error
		alloctest.Bound(t, len(raw), 128<<10, 100, func() { file, err = parse(raw) })
		if err != nil {
			return
		}
		total := int64(0)
		for _, tensor := range file.Tensors() {
			require.NoError(t, tensor.check())
			total += tensor.Bytes()
			require.NoError(t, file.Read(t.Context(), tensor.Name, func([]byte) error { return nil }))
		}
		require.LessOrEqual(t, total, int64(len(raw)))
	})
}

func BenchmarkEncodeQ8(b *testing.B) {
	values := make([]float32, 1<<16)
	for i := range values {
		values[i] = tensor.F16ToF32(uint16(i%0x3c00)) * float32(1-2*(i%2))
	}
	raw := make([]byte, 0, len(values)*2)
	b.SetBytes(int64(4 * len(values)))
	for b.Loop() {
		if _, err := Encode(raw, Q8_0, values); err != nil {
			b.Fatal(err)
		}
	}
}
