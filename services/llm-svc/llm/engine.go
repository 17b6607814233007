package llm

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"

	"github.com/larkstream/larkstream/services/llm-svc/internal/engine"
	"github.com/larkstream/larkstream/services/llm-svc/internal/llama"
	"github.com/larkstream/larkstream/services/llm-svc/internal/llamacpp"
	"github.com/larkstream/larkstream/services/llm-svc/internal/schedule"
	"github.com/larkstream/larkstream/services/llm-svc/internal/tagger"
	"github.com/larkstream/larkstream/services/llm-svc/internal/testengine"
	"github.com/larkstream/larkstream/services/llm-svc/internal/vllm"
	"github.com/larkstream/larkstream/shared/model"
	"github.com/larkstream/larkstream/shared/tensor"
)

// What answers questions, and what goes in and out. See internal/engine for the contract.
type (
	Engine   = engine.Engine
	Request  = engine.Request
	Question = engine.Question
	Decode   = engine.Decode
	Result   = engine.Result
	// Stats are the scheduler's counts; see internal/schedule.
	Stats = schedule.Stats
)

// SchemaTags is the Request.Schema of structured tags.
const SchemaTags = engine.SchemaTags

// ErrPromptTooLong is the error of a question that leaves no room for an answer.
var ErrPromptTooLong = engine.ErrPromptTooLong

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
		return testengine.New(b.LLM.Hidden, c.TestDelay), nil
	case EngineVLLM:
		return vllm.Open(b, c.vllm(), vllm.Deps{Log: log})
	case EngineReference, EngineNano:
		tensor.LogKernel(log)
		return llama.Open(b, llama.Config{MaxBatch: c.MaxBatch, Positions: c.Positions})
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
