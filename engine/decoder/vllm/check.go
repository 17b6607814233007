package vllm

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/larkstream/larkstream/engine/decoder/contract"
)

// checkTimeout bounds Check.
const checkTimeout = 30 * time.Second

// Check asks the server for everything that answers need: that it is healthy, serves the model under its name with room for the
// bundle's context, and takes prompts as embeddings of the bundle's width.
func (e *Engine) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTimeout, fmt.Errorf("checking the vLLM server: no answer within %s", checkTimeout))
	defer cancel()
	if _, err := e.client.get(ctx, "health"); err != nil {
		return fmt.Errorf("checking the vLLM server: %w", err)
	}
	if err := e.checkModel(ctx); err != nil {
		return fmt.Errorf("checking the vLLM server: %w", err)
	}
	if err := e.checkEmbeds(ctx); err != nil {
		return fmt.Errorf("checking that the vLLM server takes embeddings: %w", err)
	}
	return nil
}

func (e *Engine) checkModel(ctx context.Context) error {
	raw, err := e.client.get(ctx, "v1/models")
	if err != nil {
		return err
	}
	var list struct {
		Data []struct {
			ID          string `json:"id"`
			MaxModelLen int    `json:"max_model_len"`
		} `json:"data"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("/v1/models is not the JSON expected: %w", err)
	}
	var names []string
	for _, m := range list.Data {
		if m.ID == e.cfg.Model {
			if m.MaxModelLen > 0 && m.MaxModelLen < e.bundle.LLM.Context {
				return fmt.Errorf("its context is %d positions and the bundle's %d: start it with --max-model-len %d", m.MaxModelLen, e.bundle.LLM.Context, e.bundle.LLM.Context)
			}
			return nil
		}
		names = append(names, m.ID[:min(len(m.ID), 80)])
	}
	return fmt.Errorf("it serves %q, not %q: start it with --served-model-name %s, or set vllm_model", names[:min(len(names), 10)], e.cfg.Model, e.cfg.Model)
}

// checkEmbeds has one token of an answer made to a question about no frames.
func (e *Engine) checkEmbeds(ctx context.Context) error {
	p, err := e.prompts.build(nil, "", contract.Question{Text: "What is this?"})
	if err != nil {
		return err
	}
	a := asking{Engine: e, request: contract.Request{Decode: contract.Decode{MaxTokens: 1}}}
	body, err := a.body(p, 0)
	if err != nil {
		return err
	}
	_, err = e.client.complete(ctx, body, func(string) {})
	return err
}
