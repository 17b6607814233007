package tensor

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/cpu"
)

func TestAMXTileInterpretedFromItsBytes(t *testing.T) {
	t.Parallel()
	if !cpu.X86.HasAVX512BF16 {
		t.Skip("the operands of AMX are packed by AVX512-BF16, which this machine does not have")
	}
	machine, err := readAMX()
	require.NoError(t, err)
	kr := avx512("interpreted", pairsOf(tiles[uint32]{32, pairColumns, pairBlock, 64, func(depth, count int, a, b []uint32, c []float32) {
		require.NoError(t, machine.call(depth, count, a, b, c))
	}}))
	require.NoError(t, kr.check())
	for _, p := range []Precision{BF16, BF16x2} {
		r := rand.New(rand.NewPCG(1, 2))
		for _, s := range [][3]int{{1, 1, 1}, {32, 32, 32}, {33, 31, 65}, {64, 64, 96}, {35, 16, 801}, {0, 2, 3}, {3, 3, 0}} {
			productsMatch(t, r, kr, p, s)
		}
		notANumberAndInfinityStay(t, kr, p)
	}
}

// The whole of the kernel runs in the interpreter on operands laid out here, so that this needs nothing of the processor. Numbers are small and
// whole, so that every order of the sums gives the same.
func TestAMXTileInterpretedOnAnyMachine(t *testing.T) {
	t.Parallel()
	machine, err := readAMX()
	require.NoError(t, err)
	const rows, columns, depth, count = 32, 32, 48, 3
	r := rand.New(rand.NewPCG(6, 6))
	whole := func() float32 { return float32(r.IntN(15) - 7) }
	a, b, got := make([]uint32, rows*depth), make([]uint32, count*columns*depth), make([]float32, count*rows*columns)
	want := make([]float32, len(got))
	for i := range got {
		got[i] = whole()
		want[i] = got[i]
	}
	couple := func(list []uint32) {
		for i := range list {
			list[i] = uint32(F32ToBF16(whole())) | uint32(F32ToBF16(whole()))<<16
		}
	}
	couple(a)
	couple(b)
	product := func(x, y uint32) float32 {
		return BF16ToF32(uint16(x))*BF16ToF32(uint16(y)) + BF16ToF32(uint16(x>>16))*BF16ToF32(uint16(y>>16))
	}
	for panel := range count {
		for row := range rows {
			for column := range columns {
				for k := range depth {
					x := a[(k/pairBlock*rows+row)*pairBlock+k%pairBlock]
					y := b[(panel*depth+k)*columns+column]
					want[(panel*rows+row)*columns+column] += product(x, y)
				}
			}
		}
	}
	require.NoError(t, machine.call(depth, count, a, b, got))
	require.Equal(t, want, got)
}

// The interpreter and the unit give the same, to the last bit but for the order of sums within a tile.
func TestAMXTileGivesWhatTheInterpreterGives(t *testing.T) {
	t.Parallel()
	if _, err := (candidate{"amx", matrixKernel}).try(); err != nil || !cpu.X86.HasAMXBF16 {
		t.Skip("this machine has no AMX")
	}
	machine, err := readAMX()
	require.NoError(t, err)
	const depth, count = 48, 3
	r := rand.New(rand.NewPCG(4, 4))
	pairs := func(n int) []uint32 {
		list := make([]uint32, n)
		for i := range list {
			list[i] = uint32(F32ToBF16(r.Float32()-0.5)) | uint32(F32ToBF16(r.Float32()-0.5))<<16
		}
		return list
	}
	a, b, got := pairs(32*depth), pairs(count*32*depth), random(r, count*32*32)
	want := append([]float32(nil), got...)
	tilePairsAMX(depth, count, a, b, got)
	require.NoError(t, machine.call(depth, count, a, b, want))
	require.InDeltaSlice(t, want, got, 1e-5)
}

// configuration is a table of LDTILECFG as the kernel's, changed.
func configuration(t *testing.T, change map[int]byte) []byte {
	t.Helper()
	machine, err := readAMX()
	require.NoError(t, err)
	config := append([]byte(nil), machine.config...)
	for at, v := range change {
		config[at] = v
	}
	return config
}

func TestInterpreterRefusesConfigurationsThatTheProcessorRefuses(t *testing.T) {
	t.Parallel()
	require.NoError(t, new(amx).configure(configuration(t, nil)))
	require.NoError(t, new(amx).configure(configuration(t, map[int]byte{16: 0, 48: 0})), "a tile that is not used")
	wide := map[int]byte{} // sixteen tiles, as the kernel once had: the processor has eight
	for at := 32; at < 48; at += 2 {
		wide[at] = 64
	}
	require.ErrorContains(t, new(amx).configure(configuration(t, wide)), "byte 32 is reserved")
	for want, change := range map[string]map[int]byte{
		"palette 0": {0: 0}, "palette 2 does not exist": {0: 2}, "first row is 1": {1: 1}, "byte 2 is reserved": {2: 1}, "byte 15 is reserved": {15: 1},
		"byte 47 is reserved": {47: 1}, "byte 56 is reserved": {56: 1}, "byte 63 is reserved": {63: 16}, "tile 0 is larger": {16: 65}, "tile 3 is larger": {23: 1},
		"tile 7 is larger": {55: 17}, "tile 1 has only one": {18: 0}, "tile 2 has only one": {50: 0},
	} {
		err := new(amx).configure(configuration(t, change))
		require.ErrorIs(t, err, errFault, want)
		require.ErrorContains(t, err, want)
	}
	require.ErrorContains(t, new(amx).configure(make([]byte, 63)), "64 bytes")
}

// tdp, load and store are the bytes of TDPBF16PS, and of TILELOADD and TILESTORED of rows at R8, R9 apart.
func tdp(dst, a, b byte) []byte { return []byte{0xc4, 0xe2, ^b&15<<3 | 2, 0x5c, 0xc0 | dst<<3 | a} }

func load(tile byte) []byte { return []byte{0xc4, 0x82, 0x7b, 0x4b, 0x44 | tile<<3, 0x08, 0} }

func store(tile byte) []byte { return []byte{0xc4, 0x82, 0x7a, 0x4b, 0x44 | tile<<3, 0x08, 0} }

func TestInterpreterRefusesInstructionsThatTheProcessorRefuses(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]struct {
		config map[int]byte // changes of the configuration; nil leaves the tiles without one
		bytes  []byte
		at     uint64
	}{
		"tiles are not configured": {nil, tdp(0, 4, 6), atA},
		"are not configured":       {nil, load(4), atA},
		"0, 4 and 4 are not three": {map[int]byte{}, tdp(0, 4, 4), atA},
		"4, 4 and 6 are not three": {map[int]byte{}, tdp(4, 4, 6), atA},
		"6, 4 and 6 are not three": {map[int]byte{}, tdp(6, 4, 6), atA},
		"there is no tile 8":       {map[int]byte{}, tdp(0, 4, 8), atA},
		"tile 4 has no shape":      {map[int]byte{24: 0, 52: 0}, tdp(0, 4, 6), atA},
		"tile 5 has no shape":      {map[int]byte{26: 0, 53: 0}, load(5), atA},
		"are not whole values":     {map[int]byte{24: 62}, tdp(0, 4, 6), atA},
		"{15 64}, {16 64} and":     {map[int]byte{48: 15}, tdp(0, 4, 6), atA},
		"{16 60}, {16 64} and":     {map[int]byte{16: 60}, tdp(0, 4, 6), atA},
		"and {15 64} do not fit":   {map[int]byte{54: 15}, tdp(0, 4, 6), atA},
		"between two values":       {map[int]byte{}, load(4), atA + 2},
		"accessed: 0x1000":         {map[int]byte{}, load(4), atA + 4},
		"accessed: 0x5000":         {map[int]byte{}, load(4), 5 << 56},
		"accessed: 0x2000":         {map[int]byte{}, store(0), atB},
		"accessed: 0x3000":         {map[int]byte{}, store(0), atC + 4},
		"no such instruction":      {map[int]byte{}, []byte{0xc4, 0xe2, 0x78, 0x49, 0xc1}, atA},
		"a register for its":       {map[int]byte{}, []byte{0xc4, 0xe2, 0x7b, 0x4b, 0x44, 0x20, 0}, atA},
	} {
		m := &amx{
			registers: map[string]uint64{"R8": c.at, "R9": 64, "AX": 0},
			memory:    map[uint64]any{atA: make([]uint32, 256), atB: make([]uint32, 256), atC: make([]float32, 256)},
		}
		if c.config != nil {
			require.NoError(t, m.configure(configuration(t, c.config)), want)
		}
		err := m.encoded(c.bytes)
		require.ErrorIs(t, err, errFault, want)
		require.ErrorContains(t, err, want)
	}
}

func TestInterpreterWantsTilesReleased(t *testing.T) {
	t.Parallel()
	m := &amx{config: configuration(t, nil), registers: map[string]uint64{"AX": atConfig}, lines: []string{"LONG $0x4978e2c4", "BYTE $0x00"}}
	require.ErrorContains(t, m.run(), "not released")
	m.shapes, m.lines = nil, append(m.lines, "LONG $0x4978e2c4", "BYTE $0xc0")
	require.NoError(t, m.run())
	m.registers["AX"] = atA
	require.ErrorContains(t, m.run(), "another address")
}
