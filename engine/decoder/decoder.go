// Package decoder answers questions about windows from their soft prompts: it opens the decoder of a model bundle on the engine that the
// bundle or the caller names.
package decoder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/llamacpp"
	"github.com/larkstream/larkstream/engine/decoder/reference"
	"github.com/larkstream/larkstream/engine/decoder/schedule"
	"github.com/larkstream/larkstream/engine/decoder/tagger"
	"github.com/larkstream/larkstream/engine/decoder/testdecoder"
	"github.com/larkstream/larkstream/engine/decoder/vllm"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
)

// The contract of every decoder stands in package contract.
type (
	Engine   = contract.Engine
	Request  = contract.Request
	Question = contract.Question
	Decode   = contract.Decode
	Result   = contract.Result
	// GivenRequest asks how likely Given answers are, and a Likelihood says it.
	GivenRequest = contract.GivenRequest
	Given        = contract.Given
	Likelihood   = contract.Likelihood
	// Stats are the scheduler's counts.
	Stats = schedule.Stats
	// VLLM says how a vLLM server is asked.
	VLLM = vllm.Config
)

// SchemaTags is the Request.Schema of structured tags.
const SchemaTags = contract.SchemaTags

// ErrPromptTooLong is the error of a question that leaves no room for an answer.
var ErrPromptTooLong = contract.ErrPromptTooLong

// ErrNoLikelihood is the error of engines that give text and no probabilities.
var ErrNoLikelihood = contract.ErrNoLikelihood

// Names of engines.
const (
	// Reference is the Llama forward pass in plain Go. Nano is the name that lark-nano's bundle gives it.
	Reference = "reference"
	Nano      = "nano"
	// LlamaCPP is llama.cpp's libraries on a GGUF file.
	LlamaCPP = model.LlamaCPP
	// VLLMServer asks a vLLM server.
	VLLMServer = model.VLLM
	// Test answers without a model, for tests of everything around it.
	Test = "test"
)

// Names lists the engines.
func Names() []string { return []string{Reference, Nano, LlamaCPP, VLLMServer, Test} }

// Options are the choices of whoever opens a decoder. The zero value takes the bundle's engine and that engine's defaults.
type Options struct {
	// Engine is one of Names; empty takes the bundle's.
	Engine string
	// MaxBatch is how many answers advance together in one step; 0 takes the engine's default.
	MaxBatch int
	// Positions is the budget of attention keys and values, in positions; 0 takes the engine's default.
	Positions int
	// NativeDir, Device and Threads are for LlamaCPP: the folder of the libraries, auto or cpu, and 0 for all processors.
	NativeDir, Device string
	Threads           int
	// VLLM is for VLLMServer.
	VLLM VLLM
	// TestDelay is the time that the test engine takes for one question.
	TestDelay time.Duration
	// Log may be nil.
	Log *slog.Logger
}

// EngineName is the engine in use: the option's, else the bundle's.
func (o Options) EngineName(b *model.Bundle) string { return cmp.Or(o.Engine, b.LLM.Engine) }

// ModelName is what outcomes name as the model that answered.
func (o Options) ModelName(b *model.Bundle) string {
	if o.EngineName(b) == Test {
		return b.DisplayName() + " (test engine)"
	}
	return b.DisplayName()
}

// Validate reports every fault of the options, joined.
func (o Options) Validate() error {
	var faults []error
	if names := Names(); o.Engine != "" && !slices.Contains(names, o.Engine) {
		faults = append(faults, fmt.Errorf("engine: %q is not %s or %s", o.Engine, strings.Join(names[:len(names)-1], ", "), names[len(names)-1]))
	}
	if !slices.Contains([]string{"", llamacpp.DeviceAuto, llamacpp.DeviceCPU}, o.Device) {
		faults = append(faults, fmt.Errorf("device: %q is not auto or cpu", o.Device))
	}
	if o.Engine == VLLMServer || o.VLLM.URL != "" {
		faults = append(faults, o.VLLM.Validate())
	}
	if o.MaxBatch < 0 || o.Positions < 0 || o.Threads < 0 {
		faults = append(faults, errors.New("max_batch, positions and threads must not be below 0"))
	}
	if o.TestDelay < 0 {
		faults = append(faults, fmt.Errorf("test_delay: %s is below 0", o.TestDelay))
	}
	return errors.Join(faults...)
}

// Open opens the decoder of a bundle whose files have been verified. A decoder that cannot hold its answers to tags by itself stands
// behind package tagger. The caller closes it.
func Open(b *model.Bundle, o Options) (Engine, error) {
	e, err := open(b, o)
	if err != nil {
		return nil, err
	}
	return tagger.Wrap(e), nil
}

// Likelihoods tells how likely given texts are as answers: the sum of the logarithms of their tokens' probabilities, and the number of tokens, in the order given.
// An engine that gives text alone (vllm, test) fails with ErrNoLikelihood.
func Likelihoods(ctx context.Context, e Engine, req GivenRequest) ([][]Likelihood, error) {
	scorer, ok := e.(contract.Scorer)
	if !ok {
		return nil, ErrNoLikelihood
	}
	return scorer.Likelihoods(ctx, req)
}

// Measured is a decoder whose work can be counted.
type Measured interface {
	Engine
	Stats() Stats
	Watch(f func(schedule.Step))
	contract.Constrainer
}

// OpenMeasured is Open for those who measure: without the tagger, and only for engines with a scheduler.
func OpenMeasured(b *model.Bundle, o Options) (Measured, error) {
	e, err := open(b, o)
	if err != nil {
		return nil, err
	}
	d, ok := e.(Measured)
	if !ok {
		return nil, errors.Join(fmt.Errorf("opening the decoder: engine %q has no scheduler to measure", o.EngineName(b)), e.Close())
	}
	return d, nil
}

// openReference opens the decoder in plain Go. The tokenizer of a GGUF file is llama.cpp's.
func openReference(b *model.Bundle, o Options) (Engine, error) {
	cfg := reference.Config{MaxBatch: o.MaxBatch, Positions: o.Positions}
	if b.LLM.Tokenizer != "" {
		return reference.Open(b, cfg)
	}
	vocabulary, release, err := llamacpp.OpenVocabulary(b.LLMPath(), o.NativeDir, o.Log)
	if err != nil {
		return nil, err
	}
	cfg.Vocabulary = vocabulary
	e, err := reference.Open(b, cfg)
	if err != nil {
		return nil, errors.Join(err, release())
	}
	return released{e, release}, nil
}

// released is an engine with a tokenizer that is freed behind it.
type released struct {
	*schedule.Engine
	release func() error
}

// Close implements Engine.
func (r released) Close() error { return errors.Join(r.Engine.Close(), r.release()) }

func open(b *model.Bundle, o Options) (Engine, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	name := o.EngineName(b)
	if b.LLM.Notes != "" && name == VLLMServer {
		return nil, fmt.Errorf("opening the decoder: the bundle %s takes notes before it answers, which engine %q cannot; use %s or %s", b.Name, name, Reference, LlamaCPP)
	}
	switch name {
	case Test:
		return testdecoder.New(b.LLM.Hidden, o.TestDelay), nil
	case VLLMServer:
		o.VLLM.NativeDir = o.NativeDir
		return vllm.Open(b, o.VLLM, vllm.Deps{Log: o.Log})
	case Reference, Nano:
		tensor.LogKernel(o.Log)
		return openReference(b, o)
	case LlamaCPP:
		return llamacpp.Open(b, llamacpp.Config{
			NativeDir: o.NativeDir, Device: cmp.Or(o.Device, llamacpp.DeviceAuto), Threads: o.Threads, MaxBatch: o.MaxBatch, Positions: o.Positions,
		}, llamacpp.Deps{Log: o.Log})
	default:
		return nil, fmt.Errorf("opening the decoder: the bundle %s asks for engine %q, which this program does not have", b.Name, name)
	}
}
