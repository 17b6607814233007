package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// exp computes e^x as 2^k · e^r with k = round(x/ln 2) and |r| <= ln(2)/2, e^r by its Taylor series to r^7/7!, whose rest is
// below 6e-9.
func exp(s isa) {
	name := "exp" + s.suffix
	lowest, highest := -104.0, 90.0 // beyond them scaling gives zero and infinity
	if s.lanes == 8 {
		lowest, highest = -87, 88 // beyond them the exponent's bits would overflow
	}
	ln2high := 0.693145751953125 // 16 bits of ln 2, so that k times it is exact
	constants := []float64{lowest, highest, math.Log2E, ln2high, math.Ln2 - ln2high}
	for factorial, i := 5040.0, 7.0; i >= 0; i-- {
		constants = append(constants, 1/factorial)
		factorial /= max(i, 1)
	}
	table := vectors(name+"Constants", s, constants)

	// of turns r into its exponential in p; x and k are registers to work in.
	of := func(r, p, x, k VecVirtual) {
		VMOVUPS(table(0), k)
		VMOVAPS(r, x)
		VMAXPS(x, k, r) // x comes first where it is NaN
		VMOVUPS(table(1), k)
		VMINPS(r, k, r)
		VMULPS(table(2), r, k)
		round(s, k)
		VFNMADD231PS(table(3), k, r)
		VFNMADD231PS(table(4), k, r)
		VMOVUPS(table(5), p)
		for i := 6; i < len(constants); i++ {
			VFMADD213PS(table(i), r, p)
		}
		scale(s, p, k, x, table(0))
	}
	exponentials(s, name, of)
	sumOfExponentials(s, of)
	swish(s, table(len(constants)-1), of)
}

func exponentials(s isa, name string, of func(r, p, x, k VecVirtual)) {
	TEXT(name, NOSPLIT, "func(x []float32, vectors int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s replaces the first %d·vectors values of x by their exponentials.", name, s.lanes))
	at := Load(Param("x").Base(), GP64())
	count := Load(Param("vectors"), GP64())
	x, k, r, p := s.vector(), s.vector(), s.vector(), s.vector()
	loop(name, count, func() {
		VMOVUPS(Mem{Base: at}, r)
		of(r, p, x, k)
		VMOVUPS(p, Mem{Base: at})
		ADDQ(Imm(uint64(4*s.lanes)), at)
	})
	VZEROUPPER()
	RET()
}

// sumOfExponentials is the middle of a softmax.
func sumOfExponentials(s isa, of func(r, p, x, k VecVirtual)) {
	name := "expSum" + s.suffix
	TEXT(name, NOSPLIT, "func(dst, x []float32, high float32, vectors int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s replaces the first %d·vectors values of x by e^(x-high), and sets dst[i] to the sum of the values i, i+%d, ... of them.", name, s.lanes, s.lanes))
	at, count := Load(Param("x").Base(), GP64()), Load(Param("vectors"), GP64())
	high, sum := s.vector(), s.vector()
	broadcast("high", high)
	VXORPS(sum, sum, sum)
	x, k, r, p := s.vector(), s.vector(), s.vector(), s.vector()
	loop(name, count, func() {
		VMOVUPS(Mem{Base: at}, r)
		VSUBPS(high, r, r)
		of(r, p, x, k)
		VMOVUPS(p, Mem{Base: at})
		VADDPS(p, sum, sum)
		ADDQ(Imm(uint64(4*s.lanes)), at)
	})
	VMOVUPS(sum, Mem{Base: Load(Param("dst").Base(), GP64())})
	VZEROUPPER()
	RET()
}

// swish divides x by 1 + e^(slope·x); one is where ones are stored.
func swish(s isa, one Mem, of func(r, p, x, k VecVirtual)) {
	name := "swish" + s.suffix
	TEXT(name, NOSPLIT, "func(x []float32, slope float32, vectors int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s divides the first %d·vectors values of x by 1 + e^(slope·x).", name, s.lanes))
	at := Load(Param("x").Base(), GP64())
	count := Load(Param("vectors"), GP64())
	slope := s.vector()
	broadcast("slope", slope)
	x, k, r, p, value := s.vector(), s.vector(), s.vector(), s.vector(), s.vector()
	loop(name, count, func() {
		VMOVUPS(Mem{Base: at}, value)
		VMULPS(slope, value, r)
		of(r, p, x, k)
		VADDPS(one, p, p)
		VDIVPS(p, value, value)
		VMOVUPS(value, Mem{Base: at})
		ADDQ(Imm(uint64(4*s.lanes)), at)
	})
	VZEROUPPER()
	RET()
}

// round rounds to the nearest whole number.
func round(s isa, k VecVirtual) {
	if s.lanes == 16 {
		VRNDSCALEPS(Imm(0), k, k)
		return
	}
	VROUNDPS(Imm(0), k, k)
}

// scale multiplies p by 2^k; for x below the lowest value the result is zero.
func scale(s isa, p, k, x VecVirtual, lowest Mem) {
	if s.lanes == 16 {
		VSCALEFPS(k, p, p)
		return
	}
	VCVTPS2DQ(k, k)
	VPSLLD(Imm(23), k, k)
	VPADDD(k, p, p)
	below := s.vector()
	VCMPPS(Imm(0x11), lowest, x, below) // ordered, quiet: less than
	VANDNPS(p, below, p)
}

// vectors stores each value in as many lanes as a register has, and gives where they lie.
func vectors(name string, s isa, values []float64) func(i int) Mem {
	table := GLOBL(name, RODATA|NOPTR)
	for i, v := range values {
		for lane := range s.lanes {
			DATA(4*(i*s.lanes+lane), U32(math.Float32bits(float32(v)))) // as bits: avo prints floats shortened
		}
	}
	return func(i int) Mem { return table.Offset(4 * i * s.lanes) }
}
