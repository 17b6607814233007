package llmsvc

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"

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

// What answers questions, and what goes in and out. See internal/engine for the contract.
type (
	Engine   = contract.Engine
	Request  = contract.Request
	Question = contract.Question
	Decode   = contract.Decode
	Result   = contract.Result
	// Stats are the scheduler's counts; see internal/schedule.
	Stats = schedule.Stats
)

// SchemaTags is the Request.Schema of structured tags.
const SchemaTags = contract.SchemaTags

// ErrPromptTooLong is the error of a question that leaves no room for an answer.
var ErrPromptTooLong = contract.ErrPromptTooLong

// OpenEngine loads the bundle that the configuration names and opens its decoder. The caller closes it.
func OpenEngine(c Config) (Engine, error) {
	bundle, err := model.LoadComplete(c.ModelDir)
	if err != nil {
		return nil, err
	}
	return c.open(bundle, slog.New(slog.DiscardHandler))
}

// Decoder is a decoder whose work can be counted.
type Decoder interface {
	Engine
	Stats() Stats
	// Constrains tells whether answers can be held to a schema.
	Constrains(schema string) bool
}

// OpenDecoder is OpenEngine for those who measure: without the tagger, and only for engines with a scheduler.
func OpenDecoder(c Config) (Decoder, error) {
	bundle, err := model.LoadComplete(c.ModelDir)
	if err != nil {
		return nil, err
	}
	e, err := c.openDecoder(bundle, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	d, ok := e.(Decoder)
	if !ok {
		return nil, errors.Join(fmt.Errorf("opening the decoder: engine %q has no scheduler to measure", c.engineName(bundle)), e.Close())
	}
	return d, nil
}

// open opens the decoder, behind the tagger if it cannot hold its answers to tags.
func (c *Config) open(b *model.Bundle, log *slog.Logger) (Engine, error) {
	e, err := c.openDecoder(b, log)
	if err != nil {
		return nil, err
	}
	return tagger.Wrap(e), nil
}

func (c *Config) openDecoder(b *model.Bundle, log *slog.Logger) (Engine, error) {
	switch name := c.engineName(b); name {
	case EngineTest:
		return testdecoder.New(b.LLM.Hidden, c.TestDelay), nil
	case EngineVLLM:
		return vllm.Open(b, c.vllm(), vllm.Deps{Log: log})
	case EngineReference, EngineNano:
		if _, err := tensor.Kernel(); err != nil {
			return nil, err
		}
		return reference.Open(b, reference.Config{MaxBatch: c.MaxBatch, Positions: c.Positions})
	case EngineLlamaCPP:
		return llamacpp.Open(b, llamacpp.Config{
			NativeDir: c.NativeDir, Device: c.Device, Threads: c.Threads, MaxBatch: c.MaxBatch, Positions: c.Positions,
		}, llamacpp.Deps{Log: log})
	default:
		return nil, fmt.Errorf("opening the decoder: the bundle %s asks for engine %q, which this program does not have", b.Name, name)
	}
}

func (c *Config) engineName(b *model.Bundle) string { return cmp.Or(c.Engine, b.LLM.Engine) }

// modelName is what outcomes say of who answered.
func (c *Config) modelName(b *model.Bundle) string {
	if c.engineName(b) == EngineTest {
		return b.DisplayName() + " (test engine)"
	}
	return b.DisplayName()
}
