// Package engines runs the four stages' work in this process, without Kafka, over the same engines that the services run.
package engines

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/services/chunker-svc/chunkersvc"
	"github.com/larkstream/larkstream/services/encoder-svc/encodersvc"
	"github.com/larkstream/larkstream/services/llm-svc/llmsvc"
	"github.com/larkstream/larkstream/engine/projector"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// Set is a model's engines, opened. It is safe for concurrent use.
type Set struct {
	Bundle  *model.Bundle
	cutter  *chunkersvc.Cutter
	encoder encodersvc.Engine
	project *projector.Projector
	llm     llmsvc.Engine
}

// Open opens the engines of a model bundle, with the libraries of llama.cpp that LARK_NATIVE_DIR names, if it does.
func Open(ctx context.Context, modelDir string) (s *Set, err error) {
	s = &Set{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.Bundle, err = model.LoadComplete(modelDir); err != nil {
		return s, err
	}
	chunkerCfg, err := chunkersvc.DefaultConfig()
	if err != nil {
		return s, err
	}
	if s.cutter, err = chunkersvc.OpenCutter(chunkerCfg, s.Bundle.Encoder.SpanS); err != nil {
		return s, err
	}
	encoderCfg, err := encodersvc.DefaultConfig()
	if err != nil {
		return s, err
	}
	native := os.Getenv("LARK_NATIVE_DIR")
	encoderCfg.ModelDir, encoderCfg.NativeDir = modelDir, native
	if s.encoder, err = encodersvc.OpenEngine(ctx, encoderCfg); err != nil {
		return s, err
	}
	if s.project, err = projector.Open(s.Bundle); err != nil {
		return s, err
	}
	llmCfg, err := llmsvc.DefaultConfig()
	if err != nil {
		return s, err
	}
	llmCfg.ModelDir, llmCfg.NativeDir = modelDir, native
	s.llm, err = llmsvc.OpenEngine(llmCfg)
	return s, err
}

// Close frees what the engines hold.
func (s *Set) Close() error {
	var faults []error
	if s.llm != nil {
		faults = append(faults, s.llm.Close())
	}
	if s.encoder != nil {
		faults = append(faults, s.encoder.Close())
	}
	return errors.Join(faults...)
}

// Cut calls each with the windows of a track, in order. plan ALL hears the whole track, AUTO one window.
func (s *Set) Cut(ctx context.Context, path string, plan eventpb.PlanMode, each func(chunkersvc.Window) error) error {
	_, err := s.cutter.Cut(ctx, path, plan, nil, each)
	return err
}

// Prompt makes the soft prompt of a window.
func (s *Set) Prompt(ctx context.Context, pcm []int16) (tensor.Matrix, error) {
	frames, err := s.encoder.Encode(ctx, pcm)
	if err != nil {
		return tensor.Matrix{}, fmt.Errorf("encoding window: %w", err)
	}
	return s.project.Project(frames)
}

// Answer answers questions about a window with greedy decoding, in their order.
func (s *Set) Answer(ctx context.Context, prompt tensor.Matrix, questions []string) ([]llmsvc.Result, error) {
	req := llmsvc.Request{Soft: prompt}
	for i, text := range questions {
		req.Questions = append(req.Questions, llmsvc.Question{Index: i, Text: text})
	}
	results, err := s.llm.Answer(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("answering: %w", err)
	}
	for _, r := range results {
		if r.Err != nil {
			return nil, fmt.Errorf("answering question %d: %w", r.Index, r.Err)
		}
	}
	return results, nil
}
