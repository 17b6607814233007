// Package ggml binds ggml.h, ggml-alloc.h and ggml-backend.h of ggml 0.25.1: devices, tensors, graphs of operations and their
// computation. Values own their C memory and free it in Close.
//
// ggml aborts the process on misuse (GGML_ASSERT), so what can be checked is checked before each call. An operation on
// tensors whose shapes do not fit makes the Context remember the error (Context.Err); later operations do nothing.
// ggml does not check whether a device can compute an operation: ask Device.Supports for every node of a
// graph (Graph.Unsupported), or let a Scheduler choose the device.
package ggml

import (
	"fmt"
	"log/slog"
	"unsafe"

	"github.com/larkstream/larkstream/engine/native"
	"github.com/larkstream/larkstream/engine/native/internal/abi"
)

// Type is a number format (ggml_type).
type Type int32

// Number formats.
const (
	F32  Type = 0
	F16  Type = 1
	Q8_0 Type = 8
	I32  Type = 26
	BF16 Type = 30
)

// Library is ggml's functions.
type Library struct {
	native *native.Library
	c      functions
}

// tensor is the part of ggml_tensor that is read here.
type tensor struct {
	kind   Type
	buffer uintptr
	ne     [4]int64  // elements
	nb     [4]uint64 // strides in bytes
}

// functions of the C interface, under their names without "ggml_" and "ggml_backend_". Pointers to C's structures are
// uintptr, but for tensors, which are read here.
type functions struct {
	init       func(params abi.InitParams) uintptr
	free       func(ctx uintptr)
	used       func(ctx uintptr) uintptr
	overhead   func() uintptr
	graphSize  func(nodes uintptr, grads bool) uintptr
	newTensor  func(ctx uintptr, kind, dims int32, ne *int64) *tensor
	opName     func(t *tensor) string
	nbytes     func(t *tensor) uintptr
	rowSize    func(kind int32, n int64) uintptr
	blockSize  func(kind int32) int64
	precision  func(t *tensor, precision int32) bool
	newGraph   func(ctx, size uintptr, grads bool) uintptr
	expand     func(graph uintptr, t *tensor)
	nodeCount  func(graph uintptr) int32
	node       func(graph uintptr, i int32) *tensor
	contiguous func(t *tensor) bool

	mulMat, add, sub, mul, div, getRows, repeat   func(ctx uintptr, a, b *tensor) *tensor
	norm, rmsNorm, scale                          func(ctx uintptr, a *tensor, v float32) *tensor
	gelu, geluQuick, geluErf, silu, relu, sigmoid func(ctx uintptr, a *tensor) *tensor
	tanh, sqr, sumRows, mean, cont, transpose     func(ctx uintptr, a *tensor) *tensor
	softMax                                       func(ctx uintptr, a, mask *tensor, scale, bias float32) *tensor
	conv1D                                        func(ctx uintptr, kernel, data *tensor, stride, padding, dilation int32) *tensor
	concat                                        func(ctx uintptr, a, b *tensor, dim int32) *tensor
	cpy                                           func(ctx uintptr, a, b *tensor) *tensor
	cast                                          func(ctx uintptr, a *tensor, kind int32) *tensor
	reshape                                       func(ctx uintptr, a *tensor, ne0, ne1, ne2, ne3 int64) *tensor
	contShape                                     func(ctx uintptr, a *tensor, ne0, ne1, ne2, ne3 int64) *tensor
	view                                          func(ctx uintptr, a *tensor, ne0, ne1, ne2, ne3 int64, nb1, nb2, nb3, offset uintptr) *tensor
	permute, pad                                  func(ctx uintptr, a *tensor, d0, d1, d2, d3 int32) *tensor

	devCount    func() uintptr
	devGet      func(i uintptr) uintptr
	devName     func(dev uintptr) string
	devText     func(dev uintptr) string
	devKind     func(dev uintptr) int32
	devMemory   func(dev uintptr, free, total *uintptr)
	devInit     func(dev uintptr, params uintptr) uintptr
	devReg      func(dev uintptr) uintptr
	devBuffer   func(dev uintptr) uintptr
	devSupports func(dev uintptr, op *tensor) bool
	regAddress  func(reg uintptr, name string) uintptr

	backendFree func(backend uintptr)
	compute     func(backend, graph uintptr) int32

	typeName    func(bufferType uintptr) string
	allocIn     func(ctx, bufferType uintptr) uintptr
	bufferFree  func(buffer uintptr)
	bufferUsage func(buffer uintptr, usage int32)
	tensorSet   func(t *tensor, data unsafe.Pointer, offset, size uintptr)
	tensorGet   func(t *tensor, data unsafe.Pointer, offset, size uintptr)

	planNew   func(bufferType uintptr) uintptr
	planAlloc func(plan, graph uintptr) bool
	planFree  func(plan uintptr)
}

// Open opens the libraries of the folder (see native.Open) and binds ggml's headers.
func Open(dir string, log *slog.Logger) (*Library, error) {
	n, err := native.Open(dir, native.Deps{Log: log})
	if err != nil {
		return nil, err
	}
	return Bind(n)
}

// Bind binds ggml's headers in libraries that are open.
func Bind(n *native.Library) (*Library, error) {
	l := &Library{native: n}
	if err := n.Bind(l.c.list()); err != nil {
		return nil, fmt.Errorf("binding ggml.h: %w", err)
	}
	return l, nil
}

// Native is the libraries that the functions come from.
func (l *Library) Native() *native.Library { return l.native }

func (f *functions) list() []native.Function {
	list := append(f.tensors(), f.operations()...)
	list = append(list, f.devices()...)
	return append(list, f.memory()...)
}

func (f *functions) tensors() []native.Function {
	return []native.Function{
		{Part: native.Base, Symbol: "ggml_init", Target: &f.init},
		{Part: native.Base, Symbol: "ggml_free", Target: &f.free},
		{Part: native.Base, Symbol: "ggml_used_mem", Target: &f.used},
		{Part: native.Base, Symbol: "ggml_tensor_overhead", Target: &f.overhead},
		{Part: native.Base, Symbol: "ggml_graph_overhead_custom", Target: &f.graphSize},
		{Part: native.Base, Symbol: "ggml_new_tensor", Target: &f.newTensor},
		{Part: native.Base, Symbol: "ggml_op_desc", Target: &f.opName},
		{Part: native.Base, Symbol: "ggml_nbytes", Target: &f.nbytes},
		{Part: native.Base, Symbol: "ggml_row_size", Target: &f.rowSize},
		{Part: native.Base, Symbol: "ggml_blck_size", Target: &f.blockSize},
		{Part: native.Base, Symbol: "ggml_prec_set_acc", Target: &f.precision},
		{Part: native.Base, Symbol: "ggml_new_graph_custom", Target: &f.newGraph},
		{Part: native.Base, Symbol: "ggml_build_forward_expand", Target: &f.expand},
		{Part: native.Base, Symbol: "ggml_graph_n_nodes", Target: &f.nodeCount},
		{Part: native.Base, Symbol: "ggml_graph_node", Target: &f.node},
		{Part: native.Base, Symbol: "ggml_is_contiguous", Target: &f.contiguous},
	}
}

func (f *functions) operations() []native.Function {
	list := []native.Function{}
	for symbol, target := range map[string]any{
		"mul_mat": &f.mulMat, "add": &f.add, "sub": &f.sub, "mul": &f.mul, "div": &f.div, "get_rows": &f.getRows, "repeat": &f.repeat,
		"norm": &f.norm, "rms_norm": &f.rmsNorm, "scale": &f.scale,
		"gelu": &f.gelu, "gelu_quick": &f.geluQuick, "gelu_erf": &f.geluErf, "silu": &f.silu, "relu": &f.relu, "sigmoid": &f.sigmoid,
		"tanh": &f.tanh, "sqr": &f.sqr, "sum_rows": &f.sumRows, "mean": &f.mean, "cont": &f.cont, "transpose": &f.transpose,
		"soft_max_ext": &f.softMax, "conv_1d": &f.conv1D, "concat": &f.concat, "cpy": &f.cpy, "cast": &f.cast,
		"reshape_4d": &f.reshape, "cont_4d": &f.contShape, "view_4d": &f.view, "permute": &f.permute, "pad": &f.pad,
	} {
		list = append(list, native.Function{Part: native.Base, Symbol: "ggml_" + symbol, Target: target})
	}
	return list
}

func (f *functions) devices() []native.Function {
	return []native.Function{
		{Part: native.GGML, Symbol: "ggml_backend_dev_count", Target: &f.devCount},
		{Part: native.GGML, Symbol: "ggml_backend_dev_get", Target: &f.devGet},
		{Part: native.Base, Symbol: "ggml_backend_dev_name", Target: &f.devName},
		{Part: native.Base, Symbol: "ggml_backend_dev_description", Target: &f.devText},
		{Part: native.Base, Symbol: "ggml_backend_dev_type", Target: &f.devKind},
		{Part: native.Base, Symbol: "ggml_backend_dev_memory", Target: &f.devMemory},
		{Part: native.Base, Symbol: "ggml_backend_dev_init", Target: &f.devInit},
		{Part: native.Base, Symbol: "ggml_backend_dev_backend_reg", Target: &f.devReg},
		{Part: native.Base, Symbol: "ggml_backend_dev_buffer_type", Target: &f.devBuffer},
		{Part: native.Base, Symbol: "ggml_backend_dev_supports_op", Target: &f.devSupports},
		{Part: native.Base, Symbol: "ggml_backend_reg_get_proc_address", Target: &f.regAddress},
		{Part: native.Base, Symbol: "ggml_backend_free", Target: &f.backendFree},
		{Part: native.Base, Symbol: "ggml_backend_graph_compute", Target: &f.compute},
	}
}

func (f *functions) memory() []native.Function {
	return []native.Function{
		{Part: native.Base, Symbol: "ggml_backend_buft_name", Target: &f.typeName},
		{Part: native.Base, Symbol: "ggml_backend_alloc_ctx_tensors_from_buft", Target: &f.allocIn},
		{Part: native.Base, Symbol: "ggml_backend_buffer_free", Target: &f.bufferFree},
		{Part: native.Base, Symbol: "ggml_backend_buffer_set_usage", Target: &f.bufferUsage},
		{Part: native.Base, Symbol: "ggml_backend_tensor_set", Target: &f.tensorSet},
		{Part: native.Base, Symbol: "ggml_backend_tensor_get", Target: &f.tensorGet},
		{Part: native.Base, Symbol: "ggml_gallocr_new", Target: &f.planNew},
		{Part: native.Base, Symbol: "ggml_gallocr_alloc_graph", Target: &f.planAlloc},
		{Part: native.Base, Symbol: "ggml_gallocr_free", Target: &f.planFree},
	}
}
