package tensor

import (
	"encoding/binary"
	"errors"
	"slices"
)

// errWrong reports a kernel whose products are not right.
var errWrong = errors.New("a product differs from that of plain Go")

// check compares a product of a kernel with that of plain Go. The numbers are small and whole, so that every order of the sums gives the
// same; the shape has tiles that are whole and tiles that are not.
func (kr *kernel) check() error {
	const m, n, k = 70, 80, 100
	x, w := make([]float32, m*k), HalfMatrix{In: k, Out: n, Data: make([]byte, 2*k*n), Precision: BF16}
	for i := range x {
		x[i] = float32(i*7%31 - 15)
	}
	for i := range k * n {
		binary.LittleEndian.PutUint16(w.Data[2*i:], F32ToF16(float32(i*5%23-11)))
	}
	got, want := make([]float32, m*n), make([]float32, m*n)
	kr.matMulHalf(got, x, w, m, k, Fused{})
	goKernel().matMulHalf(want, x, w, m, k, Fused{})
	if !slices.Equal(got, want) {
		return errWrong
	}
	return nil
}
