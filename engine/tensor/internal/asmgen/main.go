// Command asmgen writes the matrix kernels of package tensor in Go assembly. Run it with go generate in engine/tensor.
//
// Each kernel is written once for both vector widths; an isa says how many registers of which kind there are.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// isa is a vector instruction set and the tile that fits its registers.
type isa struct {
	suffix string
	lanes  int // float32 values in a register
	rows   int // of the tile; it is two registers wide
	vector func() VecVirtual
	mask   func() Register // that says which values a vector is loaded with
}

func main() {
	ConstraintExpr("amd64")
	deviations()
	for _, s := range []isa{
		{"AVX512", 16, 12, ZMM, func() Register { return K() }}, // 24 sums of 32 registers
		{"AVX2", 8, 6, YMM, func() Register { return YMM() }},   // 12 sums of 16 registers
	} {
		tile(s)
		dot(s)
		weigh(s)
		exp(s)
		halves(s)
		standardise(s)
		add(s)
		greatest(s)
		scaled(s)
		gelu(s)
		interleave(s)
		spread(s)
	}
	pairsTile()
	matrixTile()
	order := pairOrder()
	for _, low := range []bool{false, true} {
		packPairs(low)
		packHalves(low, order)
	}
	Generate()
}

// tile adds a·b to tiles of c: for each of depth steps, rows values of a are each multiplied with two vectors of b.
func tile(s isa) {
	name := "tile" + s.suffix
	TEXT(name, NOSPLIT, "func(depth, count int, a, b, c []float32)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s adds a·b to count tiles of %d x %d, one after another in c; a holds depth groups of %d values, b count times depth of %d.",
		name, s.rows, 2*s.lanes, s.rows, 2*s.lanes))
	depth, count := Load(Param("depth"), GP64()), Load(Param("count"), GP64())
	a := Load(Param("a").Base(), GP64())
	b := Load(Param("b").Base(), GP64())
	c := Load(Param("c").Base(), GP64())
	at, steps, strip := GP64(), GP64(), GP64()
	IMUL3Q(U32(4*s.rows), depth, strip)
	sums := zeroed(s, 2*s.rows)
	left, right, value := s.vector(), s.vector(), s.vector()
	loop(name, count, func() {
		prefetchTile(c, 8*s.lanes*s.rows)
		MOVQ(a, at)
		MOVQ(depth, steps)
		for _, sum := range sums {
			VXORPS(sum, sum, sum)
		}
		align()
		loop(name+"Steps", steps, func() {
			VMOVUPS(Mem{Base: b}, left)
			VMOVUPS(Mem{Base: b, Disp: 4 * s.lanes}, right)
			PREFETCHT0(Mem{Base: b, Disp: 64 * s.lanes}) // eight steps ahead
			if s.lanes == 16 {
				PREFETCHT0(Mem{Base: b, Disp: 68 * s.lanes})
			}
			PREFETCHT1(Mem{Base: at, Index: strip, Scale: 1}) // the strip after this one comes from far away
			for row := range s.rows {
				VBROADCASTSS(Mem{Base: at, Disp: 4 * row}, value)
				VFMADD231PS(left, value, sums[2*row])
				VFMADD231PS(right, value, sums[2*row+1])
			}
			ADDQ(Imm(uint64(4*s.rows)), at)
			ADDQ(Imm(uint64(8*s.lanes)), b)
		})
		for i, sum := range sums {
			sumAt := Mem{Base: c, Disp: i * 4 * s.lanes}
			VADDPS(sumAt, sum, sum)
			VMOVUPS(sum, sumAt)
		}
		ADDQ(U32(8*s.lanes*s.rows), c)
	})
	VZEROUPPER()
	RET()
}

// prefetchTile fetches the bytes of a tile of c, which are needed when the sums are ready.
func prefetchTile(c Register, bytes int) {
	for at := 0; at < bytes; at += 64 {
		PREFETCHT0(Mem{Base: c, Disp: at})
	}
}

// interleave transposes four rows, one vector of each at a time.
func interleave(s isa) {
	name := "interleave" + s.suffix
	TEXT(name, NOSPLIT, "func(dst, x []float32, stride, apart, vectors int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s sets dst[l·apart+i] to value l of row i of x, for four rows that lie stride apart and %d·vectors values of each.", name, s.lanes))
	dst, apart := Load(Param("dst").Base(), GP64()), Load(Param("apart"), GP64())
	stride := Load(Param("stride"), GP64())
	SHLQ(Imm(2), stride)
	SHLQ(Imm(2), apart)
	rows := []Register{Load(Param("x").Base(), GP64()), GP64(), GP64(), GP64()}
	for i := 1; i < len(rows); i++ {
		LEAQ(Mem{Base: rows[i-1], Index: stride, Scale: 1}, rows[i])
	}
	count := Load(Param("vectors"), GP64())
	loop(name, count, func() {
		var in, half, out [4]VecVirtual
		for i := range in {
			in[i], half[i], out[i] = s.vector(), s.vector(), s.vector()
			VMOVUPS(Mem{Base: rows[i]}, in[i])
			ADDQ(Imm(uint64(4*s.lanes)), rows[i])
		}
		VUNPCKLPS(in[1], in[0], half[0])
		VUNPCKHPS(in[1], in[0], half[1])
		VUNPCKLPS(in[3], in[2], half[2])
		VUNPCKHPS(in[3], in[2], half[3])
		VUNPCKLPD(half[2], half[0], out[0]) // values 0, 4, 8 and 12 of all four rows, or 0 and 4
		VUNPCKHPD(half[2], half[0], out[1])
		VUNPCKLPD(half[3], half[1], out[2])
		VUNPCKHPD(half[3], half[1], out[3])
		for part := range s.lanes / 4 {
			for _, v := range out {
				storeFour(s, part, v, Mem{Base: dst})
				ADDQ(apart, dst)
			}
		}
	})
	VZEROUPPER()
	RET()
}

// storeFour stores four values of a vector, those from 4·part on.
func storeFour(s isa, part int, v VecVirtual, to Mem) {
	if s.lanes == 16 {
		VEXTRACTF32X4(Imm(uint64(part)), v, to)
		return
	}
	VEXTRACTF128(Imm(uint64(part)), v, to)
}

// spread copies a row of sums out of tiles.
func spread(s isa) {
	name := "spread" + s.suffix
	TEXT(name, NOSPLIT, "func(dst, from []float32, apart, tiles int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s sets the first %d·tiles values of dst to those of from, which has groups of %d that lie apart.", name, 2*s.lanes, 2*s.lanes))
	dst, from := Load(Param("dst").Base(), GP64()), Load(Param("from").Base(), GP64())
	apart, count := Load(Param("apart"), GP64()), Load(Param("tiles"), GP64())
	SHLQ(Imm(2), apart)
	left, right := s.vector(), s.vector()
	loop(name, count, func() {
		VMOVUPS(Mem{Base: from}, left)
		VMOVUPS(Mem{Base: from, Disp: 4 * s.lanes}, right)
		VMOVUPS(left, Mem{Base: dst})
		VMOVUPS(right, Mem{Base: dst, Disp: 4 * s.lanes})
		ADDQ(apart, from)
		ADDQ(U32(8*s.lanes), dst)
	})
	VZEROUPPER()
	RET()
}

// add adds x to dst.
func add(s isa) {
	name := "add" + s.suffix
	TEXT(name, NOSPLIT, "func(dst, x []float32, vectors int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s adds the first %d·vectors values of x to those of dst.", name, s.lanes))
	dst, x := Load(Param("dst").Base(), GP64()), Load(Param("x").Base(), GP64())
	count := Load(Param("vectors"), GP64())
	value := s.vector()
	loop(name, count, func() {
		VMOVUPS(Mem{Base: dst}, value)
		VADDPS(Mem{Base: x}, value, value)
		VMOVUPS(value, Mem{Base: dst})
		ADDQ(Imm(uint64(4*s.lanes)), x)
		ADDQ(Imm(uint64(4*s.lanes)), dst)
	})
	VZEROUPPER()
	RET()
}

// dot multiplies x with four rows of w at once, two vectors of x a pair so that each row has two independent sums.
func dot(s isa) {
	name := "dot4" + s.suffix
	TEXT(name, NOSPLIT, "func(dst, x, w []float32, vectors, stride int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s sets dst[0..3] to the products of the first %d·vectors values of x with four rows of w that lie stride apart.", name, s.lanes))
	x := Load(Param("x").Base(), GP64())
	vectors := Load(Param("vectors"), GP64())
	odd := GP64()
	MOVQ(vectors, odd)
	ANDQ(Imm(1), odd)
	SHRQ(Imm(1), vectors)
	stride := Load(Param("stride"), GP64())
	SHLQ(Imm(2), stride)
	rows := []Register{Load(Param("w").Base(), GP64()), GP64(), GP64(), GP64()}
	for i := 1; i < 4; i++ {
		LEAQ(Mem{Base: rows[i-1], Index: stride, Scale: 1}, rows[i])
	}
	sums := zeroed(s, 8)
	first, second := s.vector(), s.vector()
	loop(name+"Pairs", vectors, func() {
		VMOVUPS(Mem{Base: x}, first)
		VMOVUPS(Mem{Base: x, Disp: 4 * s.lanes}, second)
		for i, row := range rows {
			VFMADD231PS(Mem{Base: row}, first, sums[i])
			VFMADD231PS(Mem{Base: row, Disp: 4 * s.lanes}, second, sums[4+i])
		}
		ADDQ(Imm(uint64(8*s.lanes)), x)
		for _, row := range rows {
			ADDQ(Imm(uint64(8*s.lanes)), row)
		}
	})
	loop(name+"Odd", odd, func() {
		VMOVUPS(Mem{Base: x}, first)
		for i, row := range rows {
			VFMADD231PS(Mem{Base: row}, first, sums[i])
		}
	})
	quarters := make([]VecVirtual, 4)
	for i := range quarters {
		VADDPS(sums[4+i], sums[i], sums[i])
		quarters[i] = fold(s, sums[i])
	}
	VHADDPS(quarters[1], quarters[0], quarters[0])
	VHADDPS(quarters[3], quarters[2], quarters[2])
	VHADDPS(quarters[2], quarters[0], quarters[0])
	dst := Load(Param("dst").Base(), GP64())
	VMOVUPS(quarters[0], Mem{Base: dst})
	VZEROUPPER()
	RET()
}

// weigh sums weighted rows in one vector's width, four rows a step with a sum each.
func weigh(s isa) {
	name := "weigh" + s.suffix
	TEXT(name, NOSPLIT, "func(dst, weights, rows []float32, steps, stride int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s adds the first 4·steps rows, %d values of each, times their weights to dst; rows lie stride apart.", name, s.lanes))
	weights := Load(Param("weights").Base(), GP64())
	row := Load(Param("rows").Base(), GP64())
	steps := Load(Param("steps"), GP64())
	stride := Load(Param("stride"), GP64())
	SHLQ(Imm(2), stride)
	sums := zeroed(s, 4)
	value := s.vector()
	loop(name, steps, func() {
		for i, sum := range sums {
			VBROADCASTSS(Mem{Base: weights, Disp: 4 * i}, value)
			VFMADD231PS(Mem{Base: row}, value, sum)
			ADDQ(stride, row)
		}
		ADDQ(Imm(16), weights)
	})
	VADDPS(sums[1], sums[0], sums[0])
	VADDPS(sums[3], sums[2], sums[2])
	VADDPS(sums[2], sums[0], sums[0])
	dst := Load(Param("dst").Base(), GP64())
	VADDPS(Mem{Base: dst}, sums[0], sums[0])
	VMOVUPS(sums[0], Mem{Base: dst})
	VZEROUPPER()
	RET()
}

// halves converts IEEE 754 halves to float32, exactly.
func halves(s isa) {
	name := "halves" + s.suffix
	TEXT(name, NOSPLIT, "func(dst []float32, src []byte, vectors int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s converts %d·vectors little-endian halves to float32.", name, s.lanes))
	dst := Load(Param("dst").Base(), GP64())
	src := Load(Param("src").Base(), GP64())
	count := Load(Param("vectors"), GP64())
	value := s.vector()
	loop(name, count, func() {
		VCVTPH2PS(Mem{Base: src}, value)
		VMOVUPS(value, Mem{Base: dst})
		ADDQ(Imm(uint64(2*s.lanes)), src)
		ADDQ(Imm(uint64(4*s.lanes)), dst)
	})
	VZEROUPPER()
	RET()
}

// fold adds the parts of a vector into its lowest four values.
func fold(s isa, v VecVirtual) VecVirtual {
	if s.lanes == 16 {
		upper := YMM()
		VEXTRACTF64X4(Imm(1), v, upper)
		VADDPS(upper, v.AsY(), v.AsY())
	}
	upper, low := XMM(), v.AsX()
	VEXTRACTF128(Imm(1), v.AsY(), upper)
	sum := XMM()
	VADDPS(upper, low, sum)
	return sum
}

func zeroed(s isa, n int) []VecVirtual {
	sums := make([]VecVirtual, n)
	for i := range sums {
		sums[i] = s.vector()
		VXORPS(sums[i], sums[i], sums[i])
	}
	return sums
}

// align lets what follows begin where a line of the cache does, wherever the linker puts the function: a tight loop that begins elsewhere
// takes up to a tenth longer.
func align() {
	Instruction(&ir.Instruction{Opcode: "PCALIGN", Operands: []Op{Imm(64)}})
}

// loop runs body count times; count may be 0.
func loop(name string, count Register, body func()) {
	begin, end := name+"Loop", name+"Done"
	Label(begin)
	TESTQ(count, count)
	JE(LabelRef(end))
	body()
	DECQ(count)
	JMP(LabelRef(begin))
	Label(end)
}
