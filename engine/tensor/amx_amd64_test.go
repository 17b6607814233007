package tensor

import (
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/cpu"
)

// amx runs the assembly of tilePairsAMX as it stands in the source, its AMX instructions decoded from their bytes, so that they are tested
// on machines without AMX. What an instruction does is that of Intel's Software Developer's Manual, volume 2.
type amx struct {
	t         *testing.T
	lines     []string
	labels    map[string]int
	registers map[string]uint64
	a, b      []uint32
	c         []float32
	config    []byte
	loaded    bool // the tiles are configured
	tiles     [8][16][16]uint32
	equal     bool // the flag that JE looks at
}

// Where the memory of the operands lies: their top byte names them.
const atA, atB, atC, atConfig = 1 << 56, 2 << 56, 3 << 56, 4 << 56

var registerNames = []string{"AX", "CX", "DX", "BX", "SP", "BP", "SI", "DI", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"}

// newAMX reads the function and its table.
func newAMX(t *testing.T) *amx {
	t.Helper()
	source, err := os.ReadFile("kernels_amd64.s")
	require.NoError(t, err)
	m := &amx{t: t, labels: map[string]int{}}
	for _, d := range regexp.MustCompile(`DATA tilePairsAMXConfig<>\+\d+\(SB\)/8, (\S+)`).FindAllStringSubmatch(string(source), -1) {
		for value, i := m.number(d[1]), 0; i < 8; i++ {
			m.config = append(m.config, byte(value>>(8*i)))
		}
	}
	_, body, found := strings.Cut(string(source), "TEXT ·tilePairsAMX(SB)")
	require.True(t, found)
	body, _, _ = strings.Cut(body, "RET\n")
	for _, line := range strings.Split(body, "\n")[1:] {
		if label, ok := strings.CutSuffix(line, ":"); ok {
			m.labels[label] = len(m.lines)
		} else if line = strings.TrimSpace(line); line != "" {
			m.lines = append(m.lines, line)
		}
	}
	return m
}

func (m *amx) number(text string) uint64 {
	v, err := strconv.ParseUint(strings.TrimPrefix(text, "$"), 0, 64)
	require.NoError(m.t, err)
	return v
}

func (m *amx) tile(depth int, a, b []uint32, c []float32, stride int) {
	m.a, m.b, m.c = a, b, c
	m.registers = map[string]uint64{
		"depth+0(FP)": uint64(depth), "a_base+8(FP)": atA, "b_base+32(FP)": atB, "c_base+56(FP)": atC, "stride+80(FP)": uint64(stride),
		"tilePairsAMXConfig<>+0(SB)": atConfig,
	}
	var bytes []byte
	for at := 0; at < len(m.lines); at++ {
		op, rest, _ := strings.Cut(m.lines[at], " ")
		args := strings.Split(strings.TrimSpace(rest), ", ")
		if size, ok := map[string]int{"LONG": 4, "WORD": 2, "BYTE": 1}[op]; ok {
			for value, i := m.number(args[0]), 0; i < size; i++ {
				bytes = append(bytes, byte(value>>(8*i)))
			}
			if op == "BYTE" { // 5 and 7 bytes both end in a single one
				m.encoded(bytes)
				bytes = nil
			}
			continue
		}
		require.Empty(m.t, bytes)
		if m.step(op, args) {
			label, ok := m.labels[args[0]]
			require.True(m.t, ok, args[0])
			at = label - 1
		}
	}
	require.False(m.t, m.loaded, "tiles are released at the end")
}

// step runs an instruction that the assembler knows, and tells whether it jumps.
func (m *amx) step(op string, args []string) bool {
	value := func(arg string) uint64 {
		if strings.HasPrefix(arg, "$") {
			return m.number(arg)
		}
		v, ok := m.registers[arg]
		require.True(m.t, ok, "%s %v", op, args)
		return v
	}
	last := args[len(args)-1]
	switch op {
	case "MOVQ":
		m.registers[last] = value(args[0])
	case "LEAQ":
		if displacement, base, ok := strings.Cut(strings.TrimSuffix(args[0], ")"), "("); ok && !strings.HasSuffix(args[0], "(SB)") {
			m.registers[last] = value(base) + m.number(displacement)
		} else {
			m.registers[last] = value(args[0])
		}
	case "ADDQ":
		m.registers[last] += value(args[0])
	case "SHLQ":
		m.registers[last] <<= value(args[0])
	case "SHRQ":
		m.registers[last] >>= value(args[0])
	case "DECQ":
		m.registers[last]--
	case "TESTQ":
		m.equal = value(args[0])&value(last) == 0
	case "JE":
		return m.equal
	case "JMP":
		return true
	default:
		require.Fail(m.t, "an instruction that is not known here", "%s %v", op, args)
	}
	return false
}

// encoded runs an instruction given as bytes: the prefix VEX of three bytes, opcode, operands.
func (m *amx) encoded(b []byte) {
	require.Equal(m.t, byte(0xc4), b[0])
	require.Equal(m.t, byte(0x82), b[1]&0x9f, "R is 0, map 0F38")
	require.Zero(m.t, b[2]&0x84, "W and L are 0")
	form, reg, rm := [2]byte{b[2] & 3, b[3]}, int(b[4]>>3&7), int(b[4]&7)
	switch {
	case form == [2]byte{0, 0x49} && b[4] == 0:
		require.Equal(m.t, uint64(atConfig), m.registers["AX"])
		require.Len(m.t, m.config, 64)
		require.Equal(m.t, []byte{1, 0}, m.config[:2], "palette and first row")
		for i := range m.tiles {
			require.Equal(m.t, []byte{64, 0, 16}, []byte{m.config[16+2*i], m.config[17+2*i], m.config[48+i]}, "bytes and rows of tile %d", i)
		}
		m.loaded, m.tiles = true, [8][16][16]uint32{}
	case form == [2]byte{0, 0x49} && b[4] == 0xc0:
		m.loaded = false
	case form == [2]byte{2, 0x5c} && b[4] >= 0xc0:
		m.multiply(&m.tiles[reg], &m.tiles[rm], &m.tiles[^b[2]>>3&7])
	case b[3] == 0x4b && b[4]&0xc7 == 0x44 && len(b) == 7:
		base, index := registerNames[b[5]&7|^b[1]>>5&1<<3], registerNames[b[5]>>3&7|^b[1]>>6&1<<3]
		address := m.registers[base] + uint64(int8(b[6]))
		for row := range 16 {
			m.move(&m.tiles[reg][row], address+uint64(row)*m.registers[index], b[2]&3 == 2)
		}
	default:
		require.Fail(m.t, "bytes that are not known here", "% x", b)
	}
}

// move loads a row of a tile, or stores it, which is right in c only.
func (m *amx) move(row *[16]uint32, address uint64, store bool) {
	require.True(m.t, m.loaded)
	at := int(address & (1<<56 - 1) / 4)
	switch memory := address >> 56 << 56; {
	case memory == atA && !store:
		copy(row[:], m.a[at:][:16])
	case memory == atB && !store:
		copy(row[:], m.b[at:][:16])
	case memory == atC:
		for i, v := range m.c[at:][:16] {
			if store {
				m.c[at+i] = math.Float32frombits(row[i])
			} else {
				row[i] = math.Float32bits(v)
			}
		}
	default:
		require.Fail(m.t, "an address outside", "%x", address)
	}
}

// multiply is TDPBF16PS: first and second values of pairs are summed apart, then added to dst.
func (m *amx) multiply(dst, a, b *[16][16]uint32) {
	require.True(m.t, m.loaded)
	first := func(pair uint32) float64 { return float64(math.Float32frombits(pair << 16)) }
	second := func(pair uint32) float64 { return float64(math.Float32frombits(pair & 0xffff0000)) }
	for row := range 16 {
		for column := range 16 {
			var even, odd float32
			for k := range 16 {
				even = float32(float64(even) + first(a[row][k])*first(b[k][column]))
				odd = float32(float64(odd) + second(a[row][k])*second(b[k][column]))
			}
			dst[row][column] = math.Float32bits(math.Float32frombits(dst[row][column]) + (even + odd))
		}
	}
}

func TestAMXTileInterpretedFromItsBytes(t *testing.T) {
	t.Parallel()
	if !cpu.X86.HasAVX512BF16 {
		t.Skip("the operands of AMX are packed by AVX512-BF16, which this machine does not have")
	}
	machine := newAMX(t)
	kr := avx512("interpreted", pairsOf(tiles[uint32]{32, pairColumns, pairBlock, func(depth int, a, b []uint32, c []float32, stride int) {
		(&amx{t: t, lines: machine.lines, labels: machine.labels, config: machine.config}).tile(depth, a, b, c, stride)
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
