package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// deviations sums x - mean, and their squares, in float64, every fourth in one sum as plain Go does it, so that results are the same.
func deviations() {
	for _, squared := range []bool{false, true} {
		name, what := "deviations", "x - mean"
		if squared {
			name, what = "squares", "(x - mean)²"
		}
		TEXT(name, NOSPLIT, "func(dst []float64, x []float32, mean float64, vectors int)")
		Pragma("noescape")
		Doc(fmt.Sprintf("%s sets dst[i] to the sum of %s over the values i, i+4, ... of the first 4·vectors of x.", name, what))
		x, count := Load(Param("x").Base(), GP64()), Load(Param("vectors"), GP64())
		mean, sum, value := YMM(), YMM(), YMM()
		if m, err := Param("mean").Resolve(); err == nil {
			VBROADCASTSD(m.Addr, mean)
		}
		VXORPD(sum, sum, sum)
		loop(name, count, func() {
			VCVTPS2PD(Mem{Base: x}, value)
			VSUBPD(mean, value, value)
			if squared {
				VMULPD(value, value, value)
			}
			VADDPD(value, sum, sum)
			ADDQ(Imm(16), x)
		})
		VMOVUPD(sum, Mem{Base: Load(Param("dst").Base(), GP64())})
		VZEROUPPER()
		RET()
	}
}

// standardise is what is left of a norm once mean and spread are known.
func standardise(s isa) {
	name := "standardise" + s.suffix
	TEXT(name, NOSPLIT, "func(dst, x, weight, bias []float32, mean, scale float32, vectors int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s sets the first %d·vectors values of dst to (x - mean)·scale·weight + bias.", name, s.lanes))
	dst, x := Load(Param("dst").Base(), GP64()), Load(Param("x").Base(), GP64())
	weight, bias := Load(Param("weight").Base(), GP64()), Load(Param("bias").Base(), GP64())
	count := Load(Param("vectors"), GP64())
	mean, scale, value := s.vector(), s.vector(), s.vector()
	broadcast("mean", mean)
	broadcast("scale", scale)
	loop(name, count, func() {
		VMOVUPS(Mem{Base: x}, value)
		VSUBPS(mean, value, value)
		VMULPS(scale, value, value)
		VMULPS(Mem{Base: weight}, value, value)
		VADDPS(Mem{Base: bias}, value, value)
		VMOVUPS(value, Mem{Base: dst})
		ADDQ(Imm(uint64(4*s.lanes)), x)
		ADDQ(Imm(uint64(4*s.lanes)), weight)
		ADDQ(Imm(uint64(4*s.lanes)), bias)
		ADDQ(Imm(uint64(4*s.lanes)), dst)
	})
	VZEROUPPER()
	RET()
}
