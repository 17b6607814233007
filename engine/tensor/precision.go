package tensor

import "fmt"

// Precision is the arithmetic of a product; the zero value is F32. Sums are in float32 in all of them.
type Precision string

// The precisions.
const (
	// F32 multiplies values as they are.
	F32 Precision = "f32"
	// BF16 rounds both factors to bfloat16.
	BF16 Precision = "bf16"
	// BF16x2 takes two bfloat16 for each value, its rounding and the remainder's, and leaves the product of the remainders out: three
	// products in bfloat16, as exact as one of 16 bits. Infinities become NaN.
	BF16x2 Precision = "bf16x2"
)

// Precisions lists them.
func Precisions() []Precision { return []Precision{F32, BF16x2, BF16} }

// ParsePrecision reads a precision by name.
func ParsePrecision(name string) (Precision, error) {
	for _, p := range Precisions() {
		if string(p) == name {
			return p, nil
		}
	}
	return "", fmt.Errorf("precision %q is not one of %v", name, Precisions())
}

// part is what is taken of a value: all, its rounding to bfloat16, or the rounding of what that leaves.
type part int

const (
	exact part = iota
	high
	low
)

// term is one product of parts.
type term struct{ x, w part }

var terms = map[Precision][]term{
	F32:    {{exact, exact}},
	BF16:   {{high, high}},
	BF16x2: {{high, low}, {low, high}, {high, high}},
}

func (p Precision) terms() []term {
	if list, ok := terms[p]; ok {
		return list
	}
	return terms[F32]
}

// round sets each value to its part.
func (p part) round(x []float32) {
	switch p {
	case exact:
	case high:
		for i, v := range x {
			x[i] = BF16ToF32(F32ToBF16(v))
		}
	case low:
		for i, v := range x {
			x[i] = BF16ToF32(F32ToBF16(v - BF16ToF32(F32ToBF16(v))))
		}
	}
}
