// Package abi has the structures of llama.h v0.5.0 that are passed by value, field for field, and the values that the
// libraries fill them with by default. Field order and types come from the header in llama.cpp's source release v0.5.0.
package abi

import (
	"unsafe"
)

// Versions of the headers that the structures were written from.
const (
	LlamaVersion = "0.5.0"
	GGMLVersion  = "0.25.1"
	// Commit is what ggml_commit says in the packages that were tested.
	Commit = "0ad4a86"
	// TensorOverhead is ggml_tensor_overhead(): the size in bytes of ggml_object and ggml_tensor.
	TensorOverhead = 368
)

// ModelParams is llama_model_params.
type ModelParams struct {
	Devices, BufferTypes           uintptr
	GPULayers, SplitMode, LoadMode int32
	LazyMode, MainGPU              int32
	TensorSplit                    uintptr
	Progress, ProgressData         uintptr
	Overrides                      uintptr

	VocabOnly, CheckTensors, ExtraBuffers, NoHost, NoAlloc, LoadMTP bool
}

// ContextParams is llama_context_params.
type ContextParams struct {
	Ctx, Batch, Microbatch, Seqs, RecurrentSeqs uint32
	Outputs, OutputsPerSeq                      uint32
	Threads, ThreadsBatch                       int32

	ContextType, RopeScaling, Pooling, Attention, FlashAttention int32

	RopeBase, RopeScale, YarnExt, YarnAttn, YarnFast, YarnSlow float32
	YarnCtx                                                    uint32
	Defrag                                                     float32

	Eval, EvalData   uintptr
	TypeK, TypeV     int32
	Abort, AbortData uintptr

	Embeddings, OffloadKQV, NoPerf, OffloadOps, FullSWA, UnifiedKV bool

	Samplers     uintptr
	SamplerCount uintptr
	Other        uintptr
}

// Batch is llama_batch.
type Batch struct {
	Tokens int32
	Token  *int32
	Embd   *float32
	Pos    *int32
	NSeq   *int32
	Seq    **int32
	Logits *int8
}

// QuantizeParams is llama_model_quantize_params.
type QuantizeParams struct {
	Threads, FileType, OutputType, EmbeddingType                     int32
	AllowRequantize, QuantizeOutput, OnlyCopy, Pure, KeepSplit, Only bool
	Matrix, Overrides, TensorTypes, Prune                            uintptr
	MaxBuffer                                                        uintptr
}

// InitParams is ggml_init_params.
type InitParams struct {
	Size, Buffer uintptr
	NoAlloc      bool
}

// The sizes in bytes on 64-bit platforms. A difference does not compile.
var (
	_ [80]byte  = [unsafe.Sizeof(ModelParams{})]byte{}
	_ [160]byte = [unsafe.Sizeof(ContextParams{})]byte{}
	_ [56]byte  = [unsafe.Sizeof(Batch{})]byte{}
	_ [24]byte  = [unsafe.Sizeof(InitParams{})]byte{}
	_ [64]byte  = [unsafe.Sizeof(QuantizeParams{})]byte{}
)

// Guarded has room behind a structure that a library returns by value, so that a larger one is seen and does no harm.
type Guarded[T any] struct {
	Value T
	Guard [64]uint64
}

// Clean tells whether nothing was written behind the structure.
func (g *Guarded[T]) Clean() bool { return g.Guard == [64]uint64{} }

// The defaults as v0.5.0 sets them in llama-model.cpp, llama-context.cpp and llama-quant.cpp.

// DefaultModel is what llama_model_default_params returns.
func DefaultModel() ModelParams {
	return ModelParams{GPULayers: -1, SplitMode: 1, LoadMode: -1, LazyMode: 1, ExtraBuffers: true}
}

// DefaultContext is what llama_context_default_params returns.
func DefaultContext() ContextParams {
	return ContextParams{
		Ctx: 512, Batch: 2048, Microbatch: 512, Seqs: 1, OutputsPerSeq: 1, Threads: 4, ThreadsBatch: 4,
		RopeScaling: -1, Pooling: -1, Attention: -1, FlashAttention: -1,
		YarnExt: -1, YarnAttn: -1, YarnFast: -1, YarnSlow: -1, Defrag: -1,
		TypeK: 1, TypeV: 1, OffloadKQV: true, NoPerf: true, OffloadOps: true, FullSWA: true,
	}
}

// DefaultQuantize is what llama_model_quantize_default_params returns.
func DefaultQuantize() QuantizeParams {
	return QuantizeParams{FileType: 7, OutputType: 43, EmbeddingType: 43, QuantizeOutput: true, MaxBuffer: 8 << 30}
}
