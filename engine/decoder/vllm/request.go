package vllm

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/tags"
)

// completionRequest is the body of POST /v1/completions. What a server would otherwise take from the model's generation_config.json is
// always given, so that an answer depends on the request alone.
type completionRequest struct {
	Model string `json:"model"`
	// PromptEmbeds is a tensor [positions, hidden] as torch.save writes it; JSON has it in base64.
	PromptEmbeds      []byte     `json:"prompt_embeds"`
	MaxTokens         int        `json:"max_tokens"`
	Temperature       float32    `json:"temperature"`
	TopP              float32    `json:"top_p"`
	TopK              int        `json:"top_k"` // 0: all
	MinP              float32    `json:"min_p"`
	RepetitionPenalty float32    `json:"repetition_penalty"` // 1: none
	Seed              *int64     `json:"seed,omitempty"`
	Stop              []string   `json:"stop,omitempty"`
	StopTokenIDs      []int      `json:"stop_token_ids,omitempty"`
	StructuredOutputs *structure `json:"structured_outputs,omitempty"`
	Stream            bool       `json:"stream"`
	StreamOptions     struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

// structure constrains an answer (https://docs.vllm.ai/en/latest/features/structured_outputs/).
type structure struct {
	JSON                 json.RawMessage `json:"json"`
	DisableAnyWhitespace bool            `json:"disable_any_whitespace"`
}

// structureOf gives the constraint of a schema's name; nil is free text.
func structureOf(schema string) (*structure, error) {
	switch schema {
	case "":
		return nil, nil
	case contract.SchemaTags:
		return &structure{JSON: tags.JSONSchema(), DisableAnyWhitespace: true}, nil
	}
	return nil, fmt.Errorf("asking vLLM for %q: %w", schema, contract.ErrSchema)
}

// body is the request for one question.
func (a *asking) body(p embedded, index int) ([]byte, error) {
	tensor, err := torchSave(a.prompts.table.element, p.rows, a.bundle.LLM.Hidden, p.raw)
	if err != nil {
		return nil, err
	}
	d := a.request.Decode
	limit := min(a.bundle.Prompt.MaxTokens, a.bundle.LLM.Context-p.rows)
	if d.MaxTokens > 0 {
		limit = min(limit, d.MaxTokens)
	}
	r := completionRequest{
		Model: a.cfg.Model, PromptEmbeds: tensor, MaxTokens: limit, TopP: 1, RepetitionPenalty: 1,
		Stop: a.stops, StopTokenIDs: a.prompts.template.StopTokens(), StructuredOutputs: a.structure, Stream: true,
	}
	r.StreamOptions.IncludeUsage = true
	if d.RepetitionPenalty > 0 {
		r.RepetitionPenalty = d.RepetitionPenalty // the server sees ids of the answer only: the prompt is vectors
	}
	if d.Temperature > 0 {
		r.Temperature = d.Temperature
		if d.TopP > 0 && d.TopP <= 1 {
			r.TopP = d.TopP
		}
		r.TopK = max(0, d.TopK)
		// Each question has a seed of its own, so that an answer does not depend on what else is asked.
		seed := rand.New(rand.NewPCG(d.Seed, uint64(index))).Int64() //nolint:gosec // repeatable by seed, guards nothing
		r.Seed = &seed
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("asking vLLM: writing the request: %w", err)
	}
	return body, nil
}
