// Package llama binds llama.h of llama.cpp v0.5.0: models, contexts with their key-value memory, batches of tokens or
// vectors, vocabularies, samplers, grammars and quantisation. Values own their C memory and free it in Close.
//
// llama.cpp aborts the process on misuse (GGML_ASSERT) and on C++ exceptions that leave it, so each method checks what it
// can before the call and returns an error. Signatures and limits come from llama.h and the sources of v0.5.0.
package llama

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/larkstream/larkstream/engine/native"
	"github.com/larkstream/larkstream/engine/native/internal/abi"
)

// Token is the id of a token: its row in the vocabulary.
type Token = int32

// NoToken is what a vocabulary names for a special token that it does not have (LLAMA_TOKEN_NULL).
const NoToken Token = -1

// MaxSequences is how many sequences a context can tell apart (LLAMA_MAX_SEQ).
const MaxSequences = 256

// ErrClosed is returned by what was closed before.
var ErrClosed = errors.New("it is closed already")

// Library is llama.h's functions.
type Library struct {
	native *native.Library
	c      functions
	cancel uintptr // address of ggml_get_no_alloc, see Context.Abort
}

// functions of the C interface, under their names without "llama_". Pointers to C's structures are uintptr: they are C's
// memory, which Go's garbage collector neither moves nor frees.
type functions struct {
	modelLoad      func(path string, params abi.ModelParams) uintptr
	modelFree      func(model uintptr)
	modelVocab     func(model uintptr) uintptr
	modelCtx       func(model uintptr) int32
	modelEmbd      func(model uintptr) int32
	modelEmbdInput func(model uintptr) int32
	modelLayers    func(model uintptr) int32
	modelHeads     func(model uintptr) int32
	modelHeadsKV   func(model uintptr) int32
	modelSize      func(model uintptr) uint64
	modelParams    func(model uintptr) uint64
	modelDesc      func(model uintptr, buf *byte, size uintptr) int32
	modelMeta      func(model uintptr, key string, buf *byte, size uintptr) int32
	modelEncoder   func(model uintptr) bool
	modelRecurrent func(model uintptr) bool
	quantize       func(in, out string, params *abi.QuantizeParams) uint32

	initFromModel func(model uintptr, params abi.ContextParams) uintptr
	free          func(ctx uintptr)
	ctxSize       func(ctx uintptr) uint32
	batchSize     func(ctx uintptr) uint32
	decode        func(ctx uintptr, batch abi.Batch) int32
	synchronize   func(ctx uintptr)
	logits        func(ctx uintptr, i int32) *float32
	memory        func(ctx uintptr) uintptr
	batchInit     func(tokens, embd, seqs int32) abi.Batch
	batchFree     func(batch abi.Batch)

	memoryClear  func(memory uintptr, data bool)
	memoryRemove func(memory uintptr, seq, p0, p1 int32) bool
	memoryCopy   func(memory uintptr, src, dst, p0, p1 int32)
	memoryMax    func(memory uintptr, seq int32) int32

	vocabType    func(vocab uintptr) int32
	vocabSize    func(vocab uintptr) int32
	vocabText    func(vocab uintptr, token int32) string
	vocabScore   func(vocab uintptr, token int32) float32
	vocabAttr    func(vocab uintptr, token int32) int32
	vocabEOG     func(vocab uintptr, token int32) bool
	vocabControl func(vocab uintptr, token int32) bool
	vocabBOS     func(vocab uintptr) int32
	vocabEOS     func(vocab uintptr) int32
	vocabEOT     func(vocab uintptr) int32
	vocabNL      func(vocab uintptr) int32
	vocabPAD     func(vocab uintptr) int32
	vocabAddBOS  func(vocab uintptr) bool
	vocabAddEOS  func(vocab uintptr) bool
	tokenize     func(vocab uintptr, text *byte, size int32, tokens *int32, limit int32, special, parse bool) int32
	piece        func(vocab uintptr, token int32, buf *byte, size, lstrip int32, special bool) int32
	detokenize   func(vocab uintptr, tokens *int32, count int32, buf *byte, size int32, remove, unparse bool) int32

	samplerFree    func(sampler uintptr)
	samplerApply   func(sampler uintptr, candidates *candidates)
	samplerAccept  func(sampler uintptr, token int32)
	samplerReset   func(sampler uintptr)
	samplerGrammar func(vocab uintptr, grammar, root string) uintptr

	// A flag in C's memory that other threads set and C code reads, see Context.Abort.
	flagNew  func(params abi.InitParams) uintptr
	flagSet  func(flag uintptr, on bool)
	flagFree func(flag uintptr)
}

// Open opens the libraries of the folder (see native.Open) and binds llama.h.
func Open(dir string, log *slog.Logger) (*Library, error) {
	n, err := native.Open(dir, native.Deps{Log: log})
	if err != nil {
		return nil, err
	}
	return Bind(n)
}

// Bind binds llama.h in libraries that are open.
func Bind(n *native.Library) (*Library, error) {
	l := &Library{native: n}
	if err := n.Bind(l.c.list()); err != nil {
		return nil, fmt.Errorf("binding llama.h: %w", err)
	}
	var err error
	if l.cancel, err = n.Address(native.Base, "ggml_get_no_alloc"); err != nil {
		return nil, fmt.Errorf("binding llama.h: %w", err)
	}
	return l, nil
}

// Native is the libraries that the functions come from.
func (l *Library) Native() *native.Library { return l.native }

func (f *functions) list() []native.Function {
	list := append(f.models(), f.contexts()...)
	list = append(list, f.vocabs()...)
	return append(list, f.samplers()...)
}

func (f *functions) models() []native.Function {
	return []native.Function{
		{Part: native.Llama, Symbol: "llama_model_load_from_file", Target: &f.modelLoad},
		{Part: native.Llama, Symbol: "llama_model_free", Target: &f.modelFree},
		{Part: native.Llama, Symbol: "llama_model_get_vocab", Target: &f.modelVocab},
		{Part: native.Llama, Symbol: "llama_model_n_ctx_train", Target: &f.modelCtx},
		{Part: native.Llama, Symbol: "llama_model_n_embd", Target: &f.modelEmbd},
		{Part: native.Llama, Symbol: "llama_model_n_embd_inp", Target: &f.modelEmbdInput},
		{Part: native.Llama, Symbol: "llama_model_n_layer", Target: &f.modelLayers},
		{Part: native.Llama, Symbol: "llama_model_n_head", Target: &f.modelHeads},
		{Part: native.Llama, Symbol: "llama_model_n_head_kv", Target: &f.modelHeadsKV},
		{Part: native.Llama, Symbol: "llama_model_size", Target: &f.modelSize},
		{Part: native.Llama, Symbol: "llama_model_n_params", Target: &f.modelParams},
		{Part: native.Llama, Symbol: "llama_model_desc", Target: &f.modelDesc},
		{Part: native.Llama, Symbol: "llama_model_meta_val_str", Target: &f.modelMeta},
		{Part: native.Llama, Symbol: "llama_model_has_encoder", Target: &f.modelEncoder},
		{Part: native.Llama, Symbol: "llama_model_is_recurrent", Target: &f.modelRecurrent},
		{Part: native.Llama, Symbol: "llama_model_quantize", Target: &f.quantize},
	}
}

func (f *functions) contexts() []native.Function {
	return []native.Function{
		{Part: native.Llama, Symbol: "llama_init_from_model", Target: &f.initFromModel},
		{Part: native.Llama, Symbol: "llama_free", Target: &f.free},
		{Part: native.Llama, Symbol: "llama_n_ctx", Target: &f.ctxSize},
		{Part: native.Llama, Symbol: "llama_n_batch", Target: &f.batchSize},
		{Part: native.Llama, Symbol: "llama_decode", Target: &f.decode},
		{Part: native.Llama, Symbol: "llama_synchronize", Target: &f.synchronize},
		{Part: native.Llama, Symbol: "llama_get_logits_ith", Target: &f.logits},
		{Part: native.Llama, Symbol: "llama_get_memory", Target: &f.memory},
		{Part: native.Llama, Symbol: "llama_batch_init", Target: &f.batchInit},
		{Part: native.Llama, Symbol: "llama_batch_free", Target: &f.batchFree},
		{Part: native.Llama, Symbol: "llama_memory_clear", Target: &f.memoryClear},
		{Part: native.Llama, Symbol: "llama_memory_seq_rm", Target: &f.memoryRemove},
		{Part: native.Llama, Symbol: "llama_memory_seq_cp", Target: &f.memoryCopy},
		{Part: native.Llama, Symbol: "llama_memory_seq_pos_max", Target: &f.memoryMax},
		{Part: native.Base, Symbol: "ggml_init", Target: &f.flagNew},
		{Part: native.Base, Symbol: "ggml_set_no_alloc", Target: &f.flagSet},
		{Part: native.Base, Symbol: "ggml_free", Target: &f.flagFree},
	}
}

func (f *functions) vocabs() []native.Function {
	return []native.Function{
		{Part: native.Llama, Symbol: "llama_vocab_type", Target: &f.vocabType},
		{Part: native.Llama, Symbol: "llama_vocab_n_tokens", Target: &f.vocabSize},
		{Part: native.Llama, Symbol: "llama_vocab_get_text", Target: &f.vocabText},
		{Part: native.Llama, Symbol: "llama_vocab_get_score", Target: &f.vocabScore},
		{Part: native.Llama, Symbol: "llama_vocab_get_attr", Target: &f.vocabAttr},
		{Part: native.Llama, Symbol: "llama_vocab_is_eog", Target: &f.vocabEOG},
		{Part: native.Llama, Symbol: "llama_vocab_is_control", Target: &f.vocabControl},
		{Part: native.Llama, Symbol: "llama_vocab_bos", Target: &f.vocabBOS},
		{Part: native.Llama, Symbol: "llama_vocab_eos", Target: &f.vocabEOS},
		{Part: native.Llama, Symbol: "llama_vocab_eot", Target: &f.vocabEOT},
		{Part: native.Llama, Symbol: "llama_vocab_nl", Target: &f.vocabNL},
		{Part: native.Llama, Symbol: "llama_vocab_pad", Target: &f.vocabPAD},
		{Part: native.Llama, Symbol: "llama_vocab_get_add_bos", Target: &f.vocabAddBOS},
		{Part: native.Llama, Symbol: "llama_vocab_get_add_eos", Target: &f.vocabAddEOS},
		{Part: native.Llama, Symbol: "llama_tokenize", Target: &f.tokenize},
		{Part: native.Llama, Symbol: "llama_token_to_piece", Target: &f.piece},
		{Part: native.Llama, Symbol: "llama_detokenize", Target: &f.detokenize},
	}
}

func (f *functions) samplers() []native.Function {
	return []native.Function{
		{Part: native.Llama, Symbol: "llama_sampler_free", Target: &f.samplerFree},
		{Part: native.Llama, Symbol: "llama_sampler_apply", Target: &f.samplerApply},
		{Part: native.Llama, Symbol: "llama_sampler_accept", Target: &f.samplerAccept},
		{Part: native.Llama, Symbol: "llama_sampler_reset", Target: &f.samplerReset},
		{Part: native.Llama, Symbol: "llama_sampler_init_grammar", Target: &f.samplerGrammar},
	}
}
