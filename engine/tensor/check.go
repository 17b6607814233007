package tensor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// errWrong reports a kernel whose results are not right.
var errWrong = errors.New("its results differ from those of plain Go")

// The shape of the products that a check makes has tiles that are whole and tiles that are not. They are small enough for one goroutine.
const checkRows, checkColumns, checkDepth = 70, 81, 83

// check compares what a kernel computes with plain Go. It starts no goroutine.
func (kr *kernel) check() error {
	for _, p := range Precisions() {
		if err := kr.checkHalves(p); err != nil {
			return err
		}
	}
	return errors.Join(kr.checkProducts(), kr.checkPointwise(), kr.checkNorm(), kr.checkSoftmax(), kr.checkSpread())
}

// checkHalves compares products with halves. The values have 15 bits, so that in BF16x2 both parts count.
func (kr *kernel) checkHalves(p Precision) error {
	const m, n, k = checkRows, checkColumns, checkDepth
	w := HalfMatrix{In: k, Out: n, Data: make([]byte, 2*k*n), Precision: p}
	for i, v := range sample(k*n, 11) {
		binary.LittleEndian.PutUint16(w.Data[2*i:], F32ToF16(v))
	}
	x, bias := sample(m*k, 1), sample(n, 2)
	got, want := sample(m*n, 3), sample(m*n, 3)
	fused := Fused{Bias: bias, Accumulate: true}
	kr.matMulHalf(got, x, w, m, k, fused)
	goKernel().matMulHalf(want, x, w, m, k, fused)
	return same("products with halves in "+string(p), got, want)
}

// checkProducts compares products of float32, of few rows and of many, and sums of weighted rows.
func (kr *kernel) checkProducts() error {
	const m, n, k = checkRows, checkColumns, checkDepth
	x, w := sample(m*k, 4), sample(n*k, 5)
	of := func(kr *kernel) (panels, rows, weighed []float32) {
		panels, rows, weighed = make([]float32, m*n), make([]float32, 3*n), sample(k, 6)
		kr.panels(panels, x, w, m, n, k)
		kr.rows(rows, x, w, 3, n, k)
		kr.weigh(weighed, x[:7], w)
		return panels, rows, weighed
	}
	panels, rows, weighed := of(kr)
	wantPanels, wantRows, wantWeighed := of(goKernel())
	return errors.Join(same("products of many rows", panels, wantPanels), same("products of few rows", rows, wantRows),
		same("sums of weighted rows", weighed, wantWeighed))
}

// checkPointwise compares exponentials, the gate of activations, the conversion of halves and sums.
func (kr *kernel) checkPointwise() error {
	var raw []byte
	for _, v := range sample(checkDepth, 7) {
		raw = binary.LittleEndian.AppendUint16(raw, F32ToF16(v))
	}
	of := func(kr *kernel) (exp, swish, halves, sums []float32) {
		exp, swish, halves, sums = sample(checkDepth, 8), sample(checkDepth, 9), make([]float32, checkDepth), sample(checkDepth, 14)
		kr.exp(exp)
		kr.swish(swish, -1.702)
		kr.halves(halves, raw)
		kr.add(sums, sample(checkDepth, 15))
		return exp, swish, halves, sums
	}
	exp, swish, halves, sums := of(kr)
	wantExp, wantSwish, wantHalves, wantSums := of(goKernel())
	return errors.Join(same("exponentials", exp, wantExp), same("activations", swish, wantSwish), same("conversions of halves", halves, wantHalves),
		same("sums", sums, wantSums))
}

func (kr *kernel) checkNorm() error {
	x, weight, bias := sample(checkDepth, 10), sample(checkDepth, 12), sample(checkDepth, 13)
	of := func(kr *kernel) []float32 {
		out := make([]float32, checkDepth)
		kr.standardise(out, x, weight, bias, 0.5, 2)
		return append(out, float32(kr.deviations(x, 0.25)), float32(kr.squares(x, 0.25)))
	}
	return same("norms", of(kr), of(goKernel()))
}

// checkSoftmax compares the steps of a softmax, and GELU, inside its table and beyond.
func (kr *kernel) checkSoftmax() error {
	of := func(kr *kernel) (weights, gelu []float32) {
		weights, gelu = sample(checkDepth, 16), sample(checkDepth, 17)
		total := kr.expSum(weights, kr.greatest(weights))
		kr.scale(weights, 1/total)
		kr.scale(gelu, 5)
		kr.gelu(gelu)
		return append(weights, kr.greatest(gelu), total/checkDepth), gelu
	}
	weights, gelu := of(kr)
	wantWeights, wantGELU := of(goKernel())
	return errors.Join(same("steps of a softmax", weights, wantWeights), same("activations by table", gelu, wantGELU))
}

// checkSpread compares a row that is put together out of tiles.
func (kr *kernel) checkSpread() error {
	from := sample(6*checkColumns, 18)
	got, want := make([]float32, checkColumns), make([]float32, checkColumns)
	kr.spread(got, from, 3*kr.nr)
	spreadGo(want, from, kr.nr, 3*kr.nr)
	return same("rows out of tiles", got, want)
}

// sample gives n numbers between -2 and 2 that any order of summing keeps nearly the same; another seed gives others.
func sample(n int, seed uint32) []float32 {
	values := make([]float32, n)
	for i := range values {
		seed = seed*1664525 + 1013904223 // Knuth, The Art of Computer Programming, volume 2, section 3.3.4
		values[i] = float32(int32(seed)>>17) / (1 << 13)
	}
	return values
}

// same reports a value that differs by more than the order of the sums explains.
func same(what string, got, want []float32) error {
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - float64(w)); !(d <= 1e-4*max(1, math.Abs(float64(w)))) {
			return fmt.Errorf("%w: %s, element %d is %v instead of %v", errWrong, what, i, got[i], w)
		}
	}
	return nil
}
