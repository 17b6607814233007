package cache_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/cache"
)

// The stored forms are read by later versions, so they may never change.
func TestStoredForm(t *testing.T) {
	t.Parallel()
	in := tensor.Matrix{Rows: 1, Cols: 3, Data: []float32{0, 1, -2.5}}
	for dtype, want := range map[cache.DType]string{
		cache.F32: "4c4b5431" + "02010000" + "01000000" + "03000000" + "0c000000" + "1c16f572" + "06000000" + "6454aceb" + "656d622f7731" + "00000000" + "0000803f" + "000020c0",
		cache.F16: "4c4b5431" + "02020000" + "01000000" + "03000000" + "06000000" + "0cc5a551" + "06000000" + "66f5cafd" + "656d622f7731" + "0000" + "003c" + "00c1",
	} {
		raw, err := cache.Encode("emb/w1", in, dtype, cache.Plain)
		require.NoError(t, err)
		require.Equal(t, want, hex.EncodeToString(raw))
		key, out, err := cache.Decode(raw)
		require.NoError(t, err)
		require.Equal(t, "emb/w1", key)
		require.Equal(t, in, out)

		key, out, err = cache.Decode(oldForm(t, dtype))
		require.NoError(t, err)
		require.Empty(t, key)
		require.Equal(t, in, out)
	}
}

// oldForm is the tensor 0, 1, -2.5 as version 1 stored it.
func oldForm(tb testing.TB, dtype cache.DType) []byte {
	tb.Helper()
	raw, err := hex.DecodeString(map[cache.DType]string{
		cache.F32: "4c4b5431" + "01010000" + "01000000" + "03000000" + "55cb1a3c" + "00000000" + "0000803f" + "000020c0",
		cache.F16: "4c4b5431" + "01020000" + "01000000" + "03000000" + "27536946" + "0000" + "003c" + "00c1",
	}[dtype])
	require.NoError(tb, err)
	return raw
}

// TestCompressedForm: every number comes back bit by bit, from tensors that pack well and from those that do not.
func TestCompressedForm(t *testing.T) {
	t.Parallel()
	noise := ramp(100, 64)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range noise.Data {
		noise.Data[i] = math.Float32frombits(random.Uint32() &^ (1 << 30))
	}
	for name, in := range map[string]tensor.Matrix{"ramp": ramp(100, 64), "noise": noise, "one": ramp(1, 1), "zeros": {Rows: 300, Cols: 300, Data: make([]float32, 90_000)}} {
		for _, dtype := range []cache.DType{cache.F32, cache.F16} {
			plain, err := cache.Encode(key, in, dtype, cache.Plain)
			require.NoError(t, err)
			packed, err := cache.Encode(key, in, dtype, cache.Zstd)
			require.NoError(t, err)
			require.LessOrEqual(t, len(packed), len(plain), name)
			_, want, err := cache.Decode(plain)
			require.NoError(t, err)
			_, got, err := cache.Decode(packed)
			require.NoError(t, err)
			require.Equal(t, want, got, name)
		}
	}
}

func TestF16Rounds(t *testing.T) {
	t.Parallel()
	in := tensor.Matrix{Rows: 1, Cols: 4, Data: []float32{0.1, 65504, float32(math.Inf(1)), -1e-9}}
	raw, err := cache.Encode(key, in, cache.F16, cache.Plain)
	require.NoError(t, err)
	require.Len(t, raw, 32+len(key)+2*4)
	_, out, err := cache.Decode(raw)
	require.NoError(t, err)
	require.InDelta(t, 0.1, out.Data[0], 0.1/2048)
	require.Equal(t, in.Data[1:3], out.Data[1:3])
	require.Zero(t, out.Data[3])
}

func TestF16FallsBackRatherThanOverflow(t *testing.T) {
	t.Parallel()
	in := tensor.Matrix{Rows: 2, Cols: 1, Data: []float32{1, -70_000}}
	raw, err := cache.Encode(key, in, cache.F16, cache.Plain)
	require.NoError(t, err)
	_, out, err := cache.Decode(raw)
	require.NoError(t, err)
	require.Equal(t, in, out)
}

func TestNaNStaysNaN(t *testing.T) {
	t.Parallel()
	for _, dtype := range []cache.DType{cache.F32, cache.F16} {
		raw, err := cache.Encode(key, tensor.Matrix{Rows: 1, Cols: 1, Data: []float32{float32(math.NaN())}}, dtype, cache.Plain)
		require.NoError(t, err)
		_, out, err := cache.Decode(raw)
		require.NoError(t, err)
		require.True(t, math.IsNaN(float64(out.Data[0])))
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	_, err := cache.Encode(key, ramp(1, 1), 9, cache.Plain)
	require.ErrorContains(t, err, "number format 9")
	_, err = cache.Encode(key, ramp(1, 1), cache.F16, 9)
	require.ErrorContains(t, err, "codec 9")
	_, err = cache.Encode(strings.Repeat("k", 513), ramp(1, 1), cache.F16, cache.Plain)
	require.ErrorContains(t, err, "513 bytes")
	_, err = cache.Encode(key, tensor.Matrix{Rows: 1 << 12, Cols: 1<<12 + 1, Data: make([]float32, 1<<24+1<<12)}, cache.F32, cache.Plain)
	require.ErrorContains(t, err, "is over")
	_, err = cache.Encode(key, tensor.Matrix{Rows: math.MaxInt, Cols: math.MaxInt, Data: []float32{1}}, cache.F32, cache.Plain)
	require.ErrorContains(t, err, "shape")
}

// sealed makes a head that lies but has the right checksums.
func sealed(codec cache.Codec, change func(raw []byte) []byte) []byte {
	raw, _ := cache.Encode("k", ramp(64, 64), cache.F32, codec)
	return reseal(change(raw))
}

// reseal corrects the sizes and checksums of a changed value, as far as it has a head.
func reseal(raw []byte) []byte {
	table := crc32.MakeTable(crc32.Castagnoli)
	switch {
	case len(raw) >= 20 && raw[4] == 1:
		binary.LittleEndian.PutUint32(raw[16:], crc32.Update(crc32.Checksum(raw[:16], table), table, raw[20:]))
	case len(raw) >= 32:
		at := 32 + int(binary.LittleEndian.Uint16(raw[24:]))
		if at > len(raw) {
			return raw
		}
		binary.LittleEndian.PutUint32(raw[16:], uint32(len(raw)-at))
		binary.LittleEndian.PutUint32(raw[20:], crc32.Checksum(raw[at:], table))
		binary.LittleEndian.PutUint32(raw[28:], crc32.Update(crc32.Checksum(raw[:28], table), table, raw[32:at]))
	}
	return raw
}

func TestDecodeRefusesLies(t *testing.T) {
	t.Parallel()
	set := func(at int, b ...byte) func([]byte) []byte {
		return func(r []byte) []byte {
			copy(r[at:], b)
			return r
		}
	}
	keep := set(0)
	for name, raw := range map[string][]byte{
		"nothing":           nil,
		"head only":         sealed(cache.Plain, keep)[:33],
		"half a head":       sealed(cache.Plain, keep)[:25],
		"magic":             sealed(cache.Plain, set(0, 'X')),
		"version":           sealed(cache.Plain, set(4, 3)),
		"old, with key":     sealed(cache.Plain, set(4, 1)),
		"dtype":             sealed(cache.Plain, set(5, 0)),
		"codec":             sealed(cache.Plain, set(6, 2)),
		"plain as zstd":     sealed(cache.Plain, set(6, 1)),
		"zstd as plain":     sealed(cache.Zstd, set(6, 0)),
		"old with codec":    sealed(cache.Zstd, set(4, 1)),
		"reserved":          sealed(cache.Plain, set(7, 1)),
		"reserved too":      sealed(cache.Plain, set(26, 1)),
		"no rows":           sealed(cache.Plain, set(8, 0, 0, 0, 0)),
		"other shape":       sealed(cache.Plain, set(8, 63)),
		"overflow":          sealed(cache.Plain, set(8, 2, 0, 0, 128, 2, 0, 0, 128)),
		"4 G x 4 G":         sealed(cache.Plain, set(8, 255, 255, 255, 255, 255, 255, 255, 255)),
		"wrong dtype":       sealed(cache.Plain, set(5, byte(cache.F16))),
		"zstd, more rows":   sealed(cache.Zstd, set(8, 65)),
		"zstd, fewer rows":  sealed(cache.Zstd, set(8, 63)),
		"zstd, wrong dtype": sealed(cache.Zstd, set(5, byte(cache.F16))),
		"zstd, cut":         sealed(cache.Zstd, func(r []byte) []byte { return r[:len(r)-5] }),
		"zstd, longer":      sealed(cache.Zstd, func(r []byte) []byte { return append(r, 1, 2, 3) }),
		"zstd, twice":       sealed(cache.Zstd, func(r []byte) []byte { return append(r, r[33:]...) }),
		"zstd, no body":     sealed(cache.Zstd, func(r []byte) []byte { return r[:33] }),
		"checksum":          set(40, 9, 9)(sealed(cache.Plain, keep)),
		"head's checksum":   set(32, 'x')(sealed(cache.Plain, keep)),
		"key too long":      sealed(cache.Plain, set(24, 1, 2)),
		"key beyond":        sealed(cache.Plain, set(24, 255, 255)),
		"above maximum":     make([]byte, cache.MaxEncoded+1000),
	} {
		_, _, err := cache.Decode(raw)
		require.ErrorIs(t, err, cache.ErrCorrupt, name)
	}
}

// TestBombsEndEarly: a body that would unpack to more than the head promises is not unpacked. It is not parallel: it measures memory.
func TestBombsEndEarly(t *testing.T) {
	encoder, err := zstd.NewWriter(nil, zstd.WithSingleSegment(true))
	require.NoError(t, err)
	bomb := encoder.EncodeAll(make([]byte, cache.MaxEncoded), nil)
	require.NoError(t, encoder.Close())
	for name, raw := range map[string][]byte{
		"64 MiB behind 16 KiB":          sealed(cache.Zstd, func(r []byte) []byte { return append(r[:33], bomb...) }),
		"64 MiB behind the right frame": sealed(cache.Zstd, func(r []byte) []byte { return append(r, bomb...) }),
		"frame lies": sealed(cache.Zstd, func(r []byte) []byte {
			liar := append(r[:33:33], bomb...)
			binary.LittleEndian.PutUint32(liar[33+5:], 64*64*4) // the frame's size, after magic and descriptor
			return liar
		}),
	} {
		require.Less(t, len(raw), 40<<10, name)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err = cache.Decode(raw)
		runtime.ReadMemStats(&after)
		require.ErrorIs(t, err, cache.ErrCorrupt, name)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(cache.MaxEncoded/2), name)
	}
}

func FuzzDecode(f *testing.F) {
	for _, codec := range []cache.Codec{cache.Plain, cache.Zstd} {
		for _, dtype := range []cache.DType{cache.F32, cache.F16} {
			raw, err := cache.Encode("emb/w", ramp(20, 30), dtype, codec)
			require.NoError(f, err)
			f.Add(raw, true)
		}
	}
	f.Add(oldForm(f, cache.F16), true)
	f.Add([]byte("LKT1"), false)
	f.Fuzz(func(t *testing.T, raw []byte, seal bool) {
		if seal { // let the fuzzer past the checksums
			raw = reseal(bytes.Clone(raw))
		}
		key, got, err := cache.Decode(raw)
		if err != nil {
			require.ErrorIs(t, err, cache.ErrCorrupt)
			return
		}
		require.Len(t, got.Data, got.Rows*got.Cols)
		again, err := cache.Encode(key, got, cache.DType(raw[5]), cache.Zstd)
		require.NoError(t, err)
		key2, got2, err := cache.Decode(again)
		require.NoError(t, err)
		require.Equal(t, key, key2)
		require.Equal(t, []int{got.Rows, got.Cols}, []int{got2.Rows, got2.Cols})
	})
}
