package tensor

import "math"

// F16ToF32 converts an IEEE 754 half to float32, exactly.
func F16ToF32(h uint16) float32 {
	sign, exp, frac := uint32(h&0x8000)<<16, uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exp {
	case 0: // zero or subnormal: frac · 2⁻²⁴
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*0x1p-24))
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// F32ToF16 converts to an IEEE 754 half, rounding to nearest even; too large values become infinite, NaN stays NaN.
func F32ToF16(f float32) uint16 {
	bits := math.Float32bits(f)
	sign, rest := uint16(bits>>16&0x8000), bits&0x7fffffff
	switch {
	case rest > 0x7f800000:
		return sign | 0x7e00
	case rest >= 0x47800000: // 65536 and above
		return sign | 0x7c00
	case rest < 0x38800000: // below the smallest normal half: let float addition round to a multiple of 2⁻²⁴
		shifted := math.Float32frombits(rest) + 0.5
		return sign | uint16(math.Float32bits(shifted)-0x3f000000)
	}
	rest += 0xfff + rest>>13&1
	return sign | uint16((rest-0x38000000)>>13)
}

// BF16ToF32 converts a bfloat16 to float32, exactly.
func BF16ToF32(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }

// F32ToBF16 converts to bfloat16, rounding to nearest even; NaN stays NaN.
func F32ToBF16(f float32) uint16 {
	bits := math.Float32bits(f)
	if bits&0x7fffffff > 0x7f800000 {
		return uint16(bits>>16) | 0x40
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}
