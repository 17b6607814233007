package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// broadcast fills a vector with a parameter of type float32.
func broadcast(parameter string, v VecVirtual) {
	if m, err := Param(parameter).Resolve(); err == nil {
		VBROADCASTSS(m.Addr, v)
	}
}

// greatest finds the greatest values, four vectors at a time so that none waits for the one before.
func greatest(s isa) {
	name := "greatest" + s.suffix
	const atOnce = 4
	TEXT(name, NOSPLIT, "func(dst, x []float32, vectors int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s sets dst[i] to the greatest of dst[i] and the values i, i+%d, ... of the first %d·vectors of x. A value that is not a number is passed over.",
		name, s.lanes, s.lanes))
	dst, x := Load(Param("dst").Base(), GP64()), Load(Param("x").Base(), GP64())
	vectors, rest := Load(Param("vectors"), GP64()), GP64()
	MOVQ(vectors, rest)
	ANDQ(Imm(atOnce-1), rest)
	SHRQ(Imm(2), vectors)
	high := make([]VecVirtual, atOnce)
	for i := range high {
		high[i] = s.vector()
		VMOVUPS(Mem{Base: dst}, high[i])
	}
	value := s.vector()
	take := func(i int) {
		VMOVUPS(Mem{Base: x, Disp: 4 * s.lanes * i}, value)
		VMAXPS(high[i], value, high[i]) // the first stays where one is NaN
	}
	loop(name, vectors, func() {
		for i := range high {
			take(i)
		}
		ADDQ(U32(4*s.lanes*atOnce), x)
	})
	loop(name+"Rest", rest, func() {
		take(0)
		ADDQ(Imm(uint64(4*s.lanes)), x)
	})
	VMAXPS(high[1], high[0], high[0])
	VMAXPS(high[3], high[2], high[2])
	VMAXPS(high[2], high[0], high[0])
	VMOVUPS(high[0], Mem{Base: dst})
	VZEROUPPER()
	RET()
}

// scaled multiplies by one number.
func scaled(s isa) {
	name := "scale" + s.suffix
	TEXT(name, NOSPLIT, "func(x []float32, by float32, vectors int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s multiplies the first %d·vectors values of x by a number.", name, s.lanes))
	x, count := Load(Param("x").Base(), GP64()), Load(Param("vectors"), GP64())
	by, value := s.vector(), s.vector()
	broadcast("by", by)
	loop(name, count, func() {
		VMULPS(Mem{Base: x}, by, value)
		VMOVUPS(value, Mem{Base: x})
		ADDQ(Imm(uint64(4*s.lanes)), x)
	})
	VZEROUPPER()
	RET()
}

// gelu looks Φ and its derivative up in a table of pairs, for steps from -end to end, and goes on from there by Taylor's formula, in the order
// of plain Go, so that results are the same.
func gelu(s isa) {
	name := "gelu" + s.suffix
	TEXT(name, NOSPLIT, "func(x, table []float32, end, steps float32, vectors int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s multiplies each of the first %d·vectors values of x by its Φ. table holds Φ and its derivative for every 1/steps from -end on,", name, s.lanes),
		"zeros first; end·steps and steps are whole, and steps a power of two.")
	constants := vectors(name+"Constants", s, []float64{0.5, 1, -3e38})
	half, one, lowest := constants(0), constants(1), constants(2)
	x, table := Load(Param("x").Base(), GP64()), Load(Param("table").Base(), GP64())
	count := Load(Param("vectors"), GP64())
	end, below, steps, step, middle := s.vector(), s.vector(), s.vector(), s.vector(), s.vector()
	broadcast("end", end)
	broadcast("steps", steps)
	VXORPS(below, below, below)
	VSUBPS(end, below, below)
	VMULPS(end, steps, middle)
	VMOVUPS(one, step)
	VDIVPS(steps, step, step)
	v, n, at, phi, slope, mask := s.vector(), s.vector(), s.vector(), s.vector(), s.vector(), s.mask()
	loop(name, count, func() {
		VMOVUPS(Mem{Base: x}, v)
		VMAXPS(below, v, at) // the first is taken where one is NaN
		VMINPS(end, at, at)
		VMULPS(steps, at, n)
		VADDPS(middle, n, n)
		VADDPS(half, n, n)
		VCVTTPS2DQ(n, n)
		gather(s, Mem{Base: table, Index: n, Scale: 8}, mask, phi)
		gather(s, Mem{Base: table, Index: n, Scale: 8, Disp: 4}, mask, slope)
		VCVTDQ2PS(n, n)
		VMULPS(step, n, n)
		VSUBPS(end, n, n) // where the table's entry stands
		VSUBPS(n, at, at) // and how far it is from there
		VMULPS(at, slope, slope)
		VMULPS(half, n, n)
		VMULPS(at, n, n)
		VMOVUPS(one, at)
		VSUBPS(n, at, at)
		VMULPS(at, slope, slope)
		VADDPS(slope, phi, phi)
		VMOVUPS(lowest, at)
		VMAXPS(v, at, v) // NaN stays; and infinity below times zero would be none
		VMULPS(phi, v, v)
		VMOVUPS(v, Mem{Base: x})
		ADDQ(Imm(uint64(4*s.lanes)), x)
	})
	VZEROUPPER()
	RET()
}

// gather loads the values at the places that a vector of indexes names.
func gather(s isa, from Mem, mask Register, to VecVirtual) {
	if s.lanes == 16 {
		KXNORW(mask, mask, mask)
		VGATHERDPS(from, mask, to)
		return
	}
	VPCMPEQD(mask, mask, mask)
	VGATHERDPS(mask, from, to)
}
