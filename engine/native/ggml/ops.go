package ggml

import (
	"fmt"
)

// The operations make tensors that a graph computes later. Shapes are checked as ggml.c of 0.25.1 asserts them.

func (x *Context) unary(op string, f func(ctx uintptr, a *tensor) *tensor, a Tensor) Tensor {
	if !x.ready(op, a) {
		return Tensor{lib: x.lib}
	}
	return x.wrap(f(x.c, a.p))
}

func (x *Context) binary(op string, f func(ctx uintptr, a, b *tensor) *tensor, a, b Tensor, fits func(a, b [4]int64) bool) Tensor {
	if !x.ready(op, a, b) {
		return Tensor{lib: x.lib}
	}
	if !fits(a.p.ne, b.p.ne) {
		return x.misfit(op, a, b)
	}
	return x.wrap(f(x.c, a.p, b.p))
}

func (x *Context) misfit(op string, a, b Tensor) Tensor {
	return x.fail(fmt.Errorf("%s: shapes %v and %v do not fit", op, a.p.ne, b.p.ne))
}

// repeats tells whether b, repeated, has the shape of a.
func repeats(a, b [4]int64) bool {
	for i := range a {
		if a[i]%b[i] != 0 {
			return false
		}
	}
	return true
}

func product(shape [4]int64) int64 { return shape[0] * shape[1] * shape[2] * shape[3] }

// MulMat is a product of matrices: of a [k, n] and b [k, m], rows contiguous, it is [n, m] in f32. Higher dimensions of a repeat.
func (x *Context) MulMat(a, b Tensor) Tensor {
	if !x.ready("mul_mat", a, b) {
		return Tensor{lib: x.lib}
	}
	if a.p.nb[0] > a.p.nb[1] {
		return x.fail(fmt.Errorf("mul_mat: the first operand is transposed: %v", a.p.nb))
	}
	return x.binary("mul_mat", x.lib.c.mulMat, a, b, func(a, b [4]int64) bool {
		return a[0] == b[0] && b[2]%a[2] == 0 && b[3]%a[3] == 0
	})
}

// Add is a+b; b is repeated to the shape of a.
func (x *Context) Add(a, b Tensor) Tensor { return x.binary("add", x.lib.c.add, a, b, repeats) }

// Sub is a-b; b is repeated to the shape of a.
func (x *Context) Sub(a, b Tensor) Tensor { return x.binary("sub", x.lib.c.sub, a, b, repeats) }

// Mul is a*b by elements; b is repeated to the shape of a.
func (x *Context) Mul(a, b Tensor) Tensor { return x.binary("mul", x.lib.c.mul, a, b, repeats) }

// Copy writes a into b, converting the format, and is b.
func (x *Context) Copy(a, b Tensor) Tensor {
	return x.binary("cpy", x.lib.c.cpy, a, b, func(a, b [4]int64) bool { return product(a) == product(b) })
}

// GetRows picks rows of a [width, rows] by the I32 indices b [n]: [width, n]. Indices are not checked: they must be rows of a.
func (x *Context) GetRows(a, b Tensor) Tensor {
	if !x.ready("get_rows", a, b) {
		return Tensor{lib: x.lib}
	}
	if b.p.kind != I32 {
		return x.fail(fmt.Errorf("get_rows: indices are of type %d, not I32", b.p.kind))
	}
	return x.binary("get_rows", x.lib.c.getRows, a, b, func(a, b [4]int64) bool {
		return a[2] == b[1] && a[3] == b[2] && b[3] == 1
	})
}

// Concat joins a and b, equal in type and in the other dimensions, along a dimension.
func (x *Context) Concat(a, b Tensor, dim int) Tensor {
	if !x.ready("concat", a, b) {
		return Tensor{lib: x.lib}
	}
	if dim < 0 || dim > 3 || a.p.kind != b.p.kind {
		return x.fail(fmt.Errorf("concat: dimension %d of types %d and %d", dim, a.p.kind, b.p.kind))
	}
	for i := range 4 {
		if i != dim && a.p.ne[i] != b.p.ne[i] {
			return x.misfit("concat", a, b)
		}
	}
	return x.wrap(x.lib.c.concat(x.c, a.p, b.p, int32(dim)))
}

// Norm makes each row's mean 0 and variance 1; eps is added to the variance.
func (x *Context) Norm(a Tensor, eps float32) Tensor { return x.scalar("norm", x.lib.c.norm, a, eps) }

// Scale is a times v.
func (x *Context) Scale(a Tensor, v float32) Tensor { return x.scalar("scale", x.lib.c.scale, a, v) }

func (x *Context) scalar(op string, f func(ctx uintptr, a *tensor, v float32) *tensor, a Tensor, v float32) Tensor {
	if !x.ready(op, a) {
		return Tensor{lib: x.lib}
	}
	return x.wrap(f(x.c, a.p, v))
}

// Sigmoid is 1/(1+exp(-a)).
func (x *Context) Sigmoid(a Tensor) Tensor { return x.unary("sigmoid", x.lib.c.sigmoid, a) }

// GELUErf is a·Φ(a), by the error function.
func (x *Context) GELUErf(a Tensor) Tensor { return x.unary("gelu_erf", x.lib.c.geluErf, a) }

// Mean is the mean of each row: [1, ...].
func (x *Context) Mean(a Tensor) Tensor { return x.unary("mean", x.lib.c.mean, a) }

// Cont is a in contiguous memory.
func (x *Context) Cont(a Tensor) Tensor { return x.unary("cont", x.lib.c.cont, a) }

// Cast is a in another format.
func (x *Context) Cast(a Tensor, kind Type) Tensor {
	if !x.ready("cast", a) {
		return Tensor{lib: x.lib}
	}
	if block := x.lib.c.blockSize(int32(kind)); block < 1 || a.p.ne[0]%block != 0 {
		return x.fail(fmt.Errorf("cast: rows of %d do not go with blocks of %d", a.p.ne[0], block))
	}
	return x.wrap(x.lib.c.cast(x.c, a.p, int32(kind)))
}

// SoftMax is the softmax of each row of a*scale+mask. The mask, f32 or f16 [row, at least rows], may be the zero Tensor.
func (x *Context) SoftMax(a, mask Tensor, scale float32) Tensor {
	if !x.ready("soft_max", a) {
		return Tensor{lib: x.lib}
	}
	if !x.lib.c.contiguous(a.p) {
		return x.fail(fmt.Errorf("soft_max: the operand is not contiguous: %v", a.p.nb))
	}
	if m := mask.p; m != nil {
		s, r := a.p.ne, m.ne
		if m.kind != F32 && m.kind != F16 || !x.lib.c.contiguous(m) || r[0] != s[0] || r[1] < s[1] || s[2]%r[2] != 0 || s[3]%r[3] != 0 {
			return x.misfit("soft_max", a, mask)
		}
	}
	return x.wrap(x.lib.c.softMax(x.c, a.p, mask.p, scale, 0))
}

// filled is a shape with ones for the dimensions left out.
func filled(shape []int64) (full [4]int64, ok bool) {
	full = [4]int64{1, 1, 1, 1}
	ok = len(shape) > 0 && len(shape) <= len(full)
	copy(full[:], shape)
	for _, n := range full {
		ok = ok && n > 0 && n < 1<<40
	}
	return full, ok
}

// Reshape gives contiguous values another shape without moving them.
func (x *Context) Reshape(a Tensor, shape ...int64) Tensor {
	return x.shaped("reshape", x.lib.c.reshape, a, shape, true)
}

// ContShape is a in contiguous memory, in another shape.
func (x *Context) ContShape(a Tensor, shape ...int64) Tensor {
	return x.shaped("cont", x.lib.c.contShape, a, shape, false)
}

func (x *Context) shaped(op string, f func(uintptr, *tensor, int64, int64, int64, int64) *tensor, a Tensor, shape []int64, contiguous bool) Tensor {
	if !x.ready(op, a) {
		return Tensor{lib: x.lib}
	}
	s, ok := filled(shape)
	if !ok || product(s) != product(a.p.ne) || contiguous && !x.lib.c.contiguous(a.p) {
		return x.fail(fmt.Errorf("%s: shape %v of %v with strides %v", op, shape, a.p.ne, a.p.nb))
	}
	return x.wrap(f(x.c, a.p, s[0], s[1], s[2], s[3]))
}

// View is a part of a without moving values: its shape, the strides in bytes of the second and further dimensions,
// and the offset in bytes. A stride that is left out is the stride of contiguous values.
func (x *Context) View(a Tensor, shape []int64, strides []int64, offset int64) Tensor {
	if !x.ready("view", a) {
		return Tensor{lib: x.lib}
	}
	s, ok := filled(shape)
	if !ok || len(strides) > 3 || offset < 0 {
		return x.fail(fmt.Errorf("view: shape %v, strides %v, offset %d", shape, strides, offset))
	}
	var nb [4]int64
	nb[0] = int64(a.p.nb[0])
	row := int64(x.lib.c.rowSize(int32(a.p.kind), s[0]))
	end := offset + row
	for i := 1; i < 4; i++ {
		switch {
		case i <= len(strides):
			nb[i] = strides[i-1]
		case i == 1:
			nb[i] = row
		default:
			nb[i] = nb[i-1] * s[i-1]
		}
		if nb[i] < 0 || nb[i] > 1<<40 {
			return x.fail(fmt.Errorf("view: strides %v are out of range", strides))
		}
		end += nb[i] * (s[i] - 1)
	}
	if end > int64(a.Bytes()) {
		return x.fail(fmt.Errorf("view: it ends at byte %d of %d", end, a.Bytes()))
	}
	if packed := offset + row*s[1]*s[2]*s[3]; packed > int64(a.Bytes()) { // ggml asserts it even where rows overlap
		return x.fail(fmt.Errorf("view: its %d bytes from %d on are more than the %d that there are, as rows overlap", packed-offset, offset, a.Bytes()))
	}
	return x.wrap(x.lib.c.view(x.c, a.p, s[0], s[1], s[2], s[3], uintptr(nb[1]), uintptr(nb[2]), uintptr(nb[3]), uintptr(offset)))
}

// Permute moves dimension i to place to[i] without moving values.
func (x *Context) Permute(a Tensor, to [4]int) Tensor {
	if !x.ready("permute", a) {
		return Tensor{lib: x.lib}
	}
	var seen [4]bool
	for _, d := range to {
		if d < 0 || d > 3 || seen[d] {
			return x.fail(fmt.Errorf("permute: %v is no order of dimensions", to))
		}
		seen[d] = true
	}
	return x.wrap(x.lib.c.permute(x.c, a.p, int32(to[0]), int32(to[1]), int32(to[2]), int32(to[3])))
}
