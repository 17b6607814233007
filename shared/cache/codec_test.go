package cache_test

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/cache"
)

// The stored form is read by later versions, so it may never change.
func TestStoredForm(t *testing.T) {
	t.Parallel()
	in := tensor.Matrix{Rows: 1, Cols: 3, Data: []float32{0, 1, -2.5}}
	for dtype, want := range map[cache.DType]string{
		cache.F32: "4c4b5431" + "01010000" + "01000000" + "03000000" + "55cb1a3c" + "00000000" + "0000803f" + "000020c0",
		cache.F16: "4c4b5431" + "01020000" + "01000000" + "03000000" + "27536946" + "0000" + "003c" + "00c1",
	} {
		raw, err := cache.Encode(in, dtype)
		require.NoError(t, err)
		require.Equal(t, want, hex.EncodeToString(raw))
		out, err := cache.Decode(raw)
		require.NoError(t, err)
		require.Equal(t, in, out)
	}
}

func TestF16Rounds(t *testing.T) {
	t.Parallel()
	in := tensor.Matrix{Rows: 1, Cols: 4, Data: []float32{0.1, 65504, float32(math.Inf(1)), -1e-9}}
	raw, err := cache.Encode(in, cache.F16)
	require.NoError(t, err)
	require.Len(t, raw, 20+2*4)
	out, err := cache.Decode(raw)
	require.NoError(t, err)
	require.InDelta(t, 0.1, out.Data[0], 0.1/2048)
	require.Equal(t, in.Data[1:3], out.Data[1:3])
	require.Zero(t, out.Data[3])
}

func TestF16FallsBackRatherThanOverflow(t *testing.T) {
	t.Parallel()
	in := tensor.Matrix{Rows: 2, Cols: 1, Data: []float32{1, -70_000}}
	raw, err := cache.Encode(in, cache.F16)
	require.NoError(t, err)
	out, err := cache.Decode(raw)
	require.NoError(t, err)
	require.Equal(t, in, out)
}

func TestNaNStaysNaN(t *testing.T) {
	t.Parallel()
	for _, dtype := range []cache.DType{cache.F32, cache.F16} {
		raw, err := cache.Encode(tensor.Matrix{Rows: 1, Cols: 1, Data: []float32{float32(math.NaN())}}, dtype)
		require.NoError(t, err)
		out, err := cache.Decode(raw)
		require.NoError(t, err)
		require.True(t, math.IsNaN(float64(out.Data[0])))
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	_, err := cache.Encode(ramp(1, 1), 9)
	require.ErrorContains(t, err, "number format 9")
	_, err = cache.Encode(tensor.Matrix{Rows: 1 << 12, Cols: 1 << 12, Data: make([]float32, 1<<24)}, cache.F32)
	require.ErrorContains(t, err, "is over")
	_, err = cache.Encode(tensor.Matrix{Rows: math.MaxInt, Cols: math.MaxInt, Data: []float32{1}}, cache.F32)
	require.ErrorContains(t, err, "shape")
}

// sealed makes a header that lies but has the right checksum.
func sealed(change func(raw []byte)) []byte {
	raw, _ := cache.Encode(ramp(2, 2), cache.F32)
	change(raw)
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(raw[16:], crc32.Update(crc32.Checksum(raw[:16], table), table, raw[20:]))
	return raw
}

func TestDecodeRefusesLies(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string][]byte{
		"nothing":       nil,
		"header only":   sealed(func([]byte) {})[:20],
		"magic":         sealed(func(r []byte) { r[0] = 'X' }),
		"version":       sealed(func(r []byte) { r[4] = 2 }),
		"dtype":         sealed(func(r []byte) { r[5] = 0 }),
		"codec":         sealed(func(r []byte) { r[6] = 1 }),
		"reserved":      sealed(func(r []byte) { r[7] = 1 }),
		"no rows":       sealed(func(r []byte) { r[8] = 0 }),
		"other shape":   sealed(func(r []byte) { r[8] = 3 }),
		"overflow":      sealed(func(r []byte) { copy(r[8:16], "\x02\x00\x00\x80\x02\x00\x00\x80") }),
		"4 G x 4 G":     sealed(func(r []byte) { copy(r[8:16], "\xff\xff\xff\xff\xff\xff\xff\xff") }),
		"wrong dtype":   sealed(func(r []byte) { r[5] = byte(cache.F16) }),
		"checksum":      append(sealed(func([]byte) {})[:16], make([]byte, 20)...),
		"above maximum": make([]byte, cache.MaxEncoded+1),
	} {
		_, err := cache.Decode(raw)
		require.ErrorIs(t, err, cache.ErrCorrupt, name)
	}
}

func FuzzDecode(f *testing.F) {
	for _, dtype := range []cache.DType{cache.F32, cache.F16} {
		raw, err := cache.Encode(ramp(2, 3), dtype)
		require.NoError(f, err)
		f.Add(raw, true)
	}
	f.Add([]byte("LKT1"), false)
	f.Fuzz(func(t *testing.T, raw []byte, seal bool) {
		if seal && len(raw) >= 20 { // let the fuzzer past the checksum
			table := crc32.MakeTable(crc32.Castagnoli)
			binary.LittleEndian.PutUint32(raw[16:], crc32.Update(crc32.Checksum(raw[:16], table), table, raw[20:]))
		}
		got, err := cache.Decode(raw)
		if err != nil {
			require.ErrorIs(t, err, cache.ErrCorrupt)
			return
		}
		require.Len(t, got.Data, got.Rows*got.Cols)
		again, err := cache.Encode(got, cache.DType(raw[5]))
		require.NoError(t, err)
		require.Len(t, again, len(raw))
	})
}

func BenchmarkCodec(b *testing.B) {
	for name, dtype := range map[string]cache.DType{"f32": cache.F32, "f16": cache.F16} {
		in := ramp(250, 4800) // LLark's embedding of 25 s
		raw, err := cache.Encode(in, dtype)
		require.NoError(b, err)
		b.Run("encode/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				_, err = cache.Encode(in, dtype)
			}
			require.NoError(b, err)
		})
		b.Run("decode/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				_, err = cache.Decode(raw)
			}
			require.NoError(b, err)
		})
	}
}
