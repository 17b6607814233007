package tensor

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// amx runs the assembly of tilePairsAMX as it stands in the source, its AMX instructions decoded from their bytes, so that they are tested
// on machines without AMX. It refuses whatever the processor raises a fault for: what an instruction does, and which faults it raises, is
// that of Intel's Software Developer's Manual, volume 1, chapter 18, and volume 2.
type amx struct {
	lines     []string
	labels    map[string]int
	config    []byte // the table that LDTILECFG reads
	registers map[string]uint64
	memory    map[uint64]any // operands by the top byte of their addresses: []uint32, which is only read, or []float32
	shapes    *[8]shape      // of the tiles; nil unless they are configured
	tiles     [8][16][16]uint32
	zero      bool // the flag that jumps look at
}

// shape is that of a tile: rows, and bytes in a row.
type shape struct{ rows, bytes int }

// errFault is whatever the processor raises instead of running an instruction.
var errFault = errors.New("the processor refuses this")

func fault(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errFault, fmt.Sprintf(format, args...))
}

// Addresses of the operands, and of the table.
const atA, atB, atC, atConfig, memories = 1 << 56, 2 << 56, 3 << 56, 4 << 56, 0xff << 56

var registerNames = []string{"AX", "CX", "DX", "BX", "SP", "BP", "SI", "DI", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"}

// readAMX reads the function and its table from the source.
func readAMX() (*amx, error) {
	source, err := os.ReadFile("kernels_amd64.s")
	if err != nil {
		return nil, err
	}
	m := &amx{labels: map[string]int{}}
	for _, d := range regexp.MustCompile(`DATA tilePairsAMXConfig<>\+\d+\(SB\)/8, (\S+)`).FindAllStringSubmatch(string(source), -1) {
		value, err := number(d[1])
		if err != nil {
			return nil, err
		}
		m.config = appendBytes(m.config, value, 8)
	}
	_, body, found := strings.Cut(string(source), "TEXT ·tilePairsAMX(SB)")
	if !found {
		return nil, errors.New("the source has no tilePairsAMX")
	}
	body, _, _ = strings.Cut(body, "RET\n")
	for _, line := range strings.Split(body, "\n")[1:] {
		if label, ok := strings.CutSuffix(line, ":"); ok {
			m.labels[label] = len(m.lines)
		} else if line = strings.TrimSpace(line); line != "" {
			m.lines = append(m.lines, line)
		}
	}
	return m, nil
}

func number(text string) (uint64, error) {
	return strconv.ParseUint(strings.TrimPrefix(text, "$"), 0, 64)
}

func appendBytes(b []byte, value uint64, size int) []byte {
	for i := range size {
		b = append(b, byte(value>>(8*i)))
	}
	return b
}

// call runs the function. Another call may run at the same time.
func (m *amx) call(depth, count int, a, b []uint32, c []float32) error {
	run := &amx{lines: m.lines, labels: m.labels, config: m.config, memory: map[uint64]any{atA: a, atB: b, atC: c}, registers: map[string]uint64{
		"depth+0(FP)": uint64(depth), "count+8(FP)": uint64(count), "a_base+16(FP)": atA, "b_base+40(FP)": atB, "c_base+64(FP)": atC,
		"tilePairsAMXConfig<>+0(SB)": atConfig,
	}}
	return run.run()
}

// run runs all lines, and wants tiles released at the end: the next function on this thread would pay for them.
func (m *amx) run() error {
	var bytes []byte
	for at := 0; at < len(m.lines); at++ {
		op, rest, _ := strings.Cut(m.lines[at], " ")
		args := strings.Split(strings.TrimSpace(rest), ", ")
		if size, ok := map[string]int{"LONG": 4, "WORD": 2, "BYTE": 1}[op]; ok {
			value, err := number(args[0])
			if err != nil {
				return err
			}
			if bytes = appendBytes(bytes, value, size); op == "BYTE" { // 5 and 7 bytes both end in a single one
				if err := m.encoded(bytes); err != nil {
					return fmt.Errorf("line %d: % x: %w", at, bytes, err)
				}
				bytes = nil
			}
			continue
		}
		if bytes != nil {
			return fmt.Errorf("line %d: the bytes % x are no whole instruction", at, bytes)
		}
		jumps, err := m.step(op, args)
		if err != nil {
			return fmt.Errorf("line %d: %s: %w", at, m.lines[at], err)
		}
		if jumps {
			label, ok := m.labels[args[0]]
			if !ok {
				return fmt.Errorf("there is no label %s", args[0])
			}
			at = label - 1
		}
	}
	if m.shapes != nil {
		return errors.New("the tiles are not released at the end")
	}
	return nil
}

// step runs an instruction that the assembler knows, and tells whether it jumps.
func (m *amx) step(op string, args []string) (jumps bool, err error) {
	last := args[len(args)-1]
	switch op {
	case "JE":
		return m.zero, nil
	case "JNE":
		return !m.zero, nil
	case "JMP":
		return true, nil
	case "PREFETCHT0", "PREFETCHT1": // raises nothing, whatever the address
		return false, nil
	}
	v, err := m.value(args[0])
	if err != nil {
		return false, err
	}
	if op != "MOVQ" && op != "LEAQ" {
		if _, err := m.value(last); err != nil {
			return false, err
		}
	}
	switch op {
	case "MOVQ", "LEAQ":
		m.registers[last] = v
		return false, nil // without a flag
	case "ADDQ":
		m.registers[last] += v
	case "SHLQ":
		m.registers[last] <<= v
	case "SHRQ":
		m.registers[last] >>= v
	case "DECQ":
		m.registers[last]--
	case "TESTQ":
		m.zero = v&m.registers[last] == 0
		return false, nil
	default:
		return false, errors.New("this instruction is not known here")
	}
	m.zero = m.registers[last] == 0
	return false, nil
}

// value is that of a constant, a register, a parameter, or the address of an operand in memory.
func (m *amx) value(arg string) (uint64, error) {
	if strings.HasPrefix(arg, "$") {
		return number(arg)
	}
	if v, ok := m.registers[arg]; ok {
		return v, nil
	}
	displacement, base, ok := strings.Cut(strings.TrimSuffix(arg, ")"), "(")
	if v, known := m.registers[base]; ok && known {
		n, err := strconv.ParseInt(cmp.Or(strings.TrimSpace(displacement), "0"), 0, 64)
		return v + uint64(n), err
	}
	return 0, fmt.Errorf("%s has no value", arg)
}

// encoded runs an instruction given as bytes: the prefix VEX of three bytes, opcode, operands. Any other is not known here.
func (m *amx) encoded(b []byte) error {
	if len(b) < 5 || b[0] != 0xc4 || b[1]&0x9f != 0x82 || b[2]&0x84 != 0 { // R set, which is 0 inverted, and map 0F38; W and L are 0
		return fault("no such instruction")
	}
	third, reg, rm := int(^b[2]>>3&15), int(b[4]>>3&7), int(b[4]&7)
	form := [2]byte{b[2] & 3, b[3]}
	switch {
	case form == [2]byte{0, 0x49} && len(b) == 5 && b[4] == 0 && b[1] == 0xe2 && third == 0: // LDTILECFG (AX)
		if m.registers["AX"] != atConfig {
			return fault("LDTILECFG of another address than its table's")
		}
		return m.configure(m.config)
	case form == [2]byte{0, 0x49} && len(b) == 5 && b[4] == 0xc0 && b[1] == 0xe2 && third == 0: // TILERELEASE
		m.shapes = nil
		return nil
	case form == [2]byte{2, 0x5c} && len(b) == 5 && b[4] >= 0xc0 && b[1] == 0xe2: // TDPBF16PS
		return m.multiply(reg, rm, third)
	case (form == [2]byte{3, 0x4b} || form == [2]byte{2, 0x4b}) && len(b) == 7 && b[4]&0xc7 == 0x44 && b[5]>>6 == 0 && third == 0: // TILELOADD, TILESTORED
		base, index := registerNames[b[5]&7|^b[1]>>5&1<<3], registerNames[b[5]>>3&7|^b[1]>>6&1<<3]
		if index == "SP" {
			return fault("a tile needs a register for its stride")
		}
		return m.move(reg, m.registers[base]+uint64(int8(b[6])), m.registers[index], form[0] == 2)
	}
	return fault("no such instruction")
}

// configure is LDTILECFG, which raises a general protection fault for each of these. Palette 1 has eight tiles of 16 rows of 64 bytes.
func (m *amx) configure(config []byte) error {
	if len(config) != 64 {
		return fault("a configuration has 64 bytes, not %d", len(config))
	}
	switch palette := config[0]; {
	case palette == 0:
		return fault("palette 0 leaves the tiles without a shape")
	case palette != 1:
		return fault("palette %d does not exist", palette)
	case config[1] != 0:
		return fault("the first row is %d: loads would leave out the rows before it", config[1])
	}
	for i, v := range config {
		if v != 0 && (i >= 2 && i < 16 || i >= 32 && i < 48 || i >= 56) {
			return fault("byte %d is reserved and must be zero", i)
		}
	}
	var shapes [8]shape
	for i := range shapes {
		s := shape{int(config[48+i]), int(config[16+2*i]) | int(config[17+2*i])<<8}
		if s.rows > 16 || s.bytes > 64 {
			return fault("tile %d is larger than 16 rows of 64 bytes", i)
		}
		if (s.rows == 0) != (s.bytes == 0) {
			return fault("tile %d has only one of rows and bytes", i)
		}
		shapes[i] = s
	}
	m.shapes, m.tiles = &shapes, [8][16][16]uint32{}
	return nil
}

// usable refuses a tile that has no shape.
func (m *amx) usable(tiles ...int) error {
	for _, i := range tiles {
		switch {
		case m.shapes == nil:
			return fault("the tiles are not configured")
		case i >= len(m.shapes):
			return fault("there is no tile %d", i)
		case m.shapes[i].rows == 0:
			return fault("tile %d has no shape", i)
		}
	}
	return nil
}

// move loads a tile, or stores it. Rows must lie in an operand, and only c may be written.
func (m *amx) move(tile int, address, stride uint64, store bool) error {
	if err := m.usable(tile); err != nil {
		return err
	}
	if m.shapes[tile].bytes%4 != 0 {
		return fault("rows of %d bytes are not known here", m.shapes[tile].bytes)
	}
	for row := range m.shapes[tile].rows {
		values := m.tiles[tile][row][:m.shapes[tile].bytes/4]
		if err := m.moveRow(values, address+uint64(row)*stride, store); err != nil {
			return err
		}
	}
	if !store { // what is beyond the shape becomes zero
		for row := range m.tiles[tile] {
			if row >= m.shapes[tile].rows {
				m.tiles[tile][row] = [16]uint32{}
			}
			clear(m.tiles[tile][row][m.shapes[tile].bytes/4:])
		}
	}
	return nil
}

func (m *amx) moveRow(row []uint32, address uint64, store bool) error {
	if address%4 != 0 {
		return fault("an address between two values: %#x", address)
	}
	at := address &^ memories / 4
	outside := func(n int) bool { return at+uint64(len(row)) > uint64(n) }
	switch memory := m.memory[address&memories].(type) {
	case []uint32:
		if store || outside(len(memory)) {
			return fault("an address outside of what may be accessed: %#x", address)
		}
		copy(row, memory[at:])
	case []float32:
		if outside(len(memory)) {
			return fault("an address outside of what may be accessed: %#x", address)
		}
		for i := range row {
			if store {
				memory[int(at)+i] = math.Float32frombits(row[i])
			} else {
				row[i] = math.Float32bits(memory[int(at)+i])
			}
		}
	default:
		return fault("an address outside of what may be accessed: %#x", address)
	}
	return nil
}

// multiply is TDPBF16PS: first and second values of pairs are summed apart, then added to dst.
func (m *amx) multiply(dst, a, b int) error {
	if err := m.usable(dst, a, b); err != nil {
		return err
	}
	d, l, r := m.shapes[dst], m.shapes[a], m.shapes[b]
	switch {
	case dst == a || dst == b || a == b:
		return fault("the tiles %d, %d and %d are not three", dst, a, b)
	case d.bytes%4 != 0 || l.bytes%4 != 0 || r.bytes%4 != 0:
		return fault("the rows of a tile are not whole values")
	case d.rows != l.rows || d.bytes != r.bytes || l.bytes/4 != r.rows:
		return fault("the shapes %v, %v and %v do not fit", d, l, r)
	}
	first := func(pair uint32) float64 { return float64(math.Float32frombits(pair << 16)) }
	second := func(pair uint32) float64 { return float64(math.Float32frombits(pair & 0xffff0000)) }
	for row := range d.rows {
		for column := range d.bytes / 4 {
			var even, odd float32
			for k := range r.rows {
				even = float32(float64(even) + first(m.tiles[a][row][k])*first(m.tiles[b][k][column]))
				odd = float32(float64(odd) + second(m.tiles[a][row][k])*second(m.tiles[b][k][column]))
			}
			v := &m.tiles[dst][row][column]
			*v = math.Float32bits(math.Float32frombits(*v) + (even + odd))
		}
	}
	return nil
}
