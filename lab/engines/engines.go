// Package engines runs the four stages' work in this process, without Kafka, over the same engines that the services run.
package engines

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/audio/cut"
	"github.com/larkstream/larkstream/engine/audio/plan"
	"github.com/larkstream/larkstream/engine/decoder"
	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/projector"
	"github.com/larkstream/larkstream/engine/tensor"
)

// Set is a model's engines, opened. It is safe for concurrent use.
type Set struct {
	Bundle  *model.Bundle
	cutter  *cut.Cutter
	encoder encoder.Engine
	project *projector.Projector
	decoder decoder.Engine
}

// Open opens the engines of a model bundle, with the libraries of llama.cpp that LARK_NATIVE_DIR names, if it does.
func Open(ctx context.Context, modelDir string) (s *Set, err error) {
	s = &Set{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.Bundle, err = model.LoadCompleteContext(ctx, modelDir); err != nil {
		return s, err
	}
	files, err := audio.NewDecoder(ctx, audio.DefaultConfig())
	if err != nil {
		return s, err
	}
	s.cutter = cut.New(files, "")
	native := os.Getenv("LARK_NATIVE_DIR")
	if s.encoder, err = encoder.Open(ctx, s.Bundle, encoder.Options{Device: encoder.Device{NativeDir: native}}); err != nil {
		return s, err
	}
	if s.project, err = projector.Open(s.Bundle); err != nil {
		return s, err
	}
	s.decoder, err = decoder.Open(s.Bundle, decoder.Options{NativeDir: native})
	return s, err
}

// Close frees what the engines hold.
func (s *Set) Close() error {
	var faults []error
	if s.decoder != nil {
		faults = append(faults, s.decoder.Close())
	}
	if s.encoder != nil {
		faults = append(faults, s.encoder.Close())
	}
	return errors.Join(faults...)
}

// Cut calls each with the windows of a track, in order, and returns the length of the track in seconds. Mode All hears the whole track,
// mode Auto one window.
func (s *Set) Cut(ctx context.Context, path string, mode plan.Mode, each func(cut.FileWindow) error) (float64, error) {
	return s.cutter.CutFile(ctx, path, plan.NewRule(mode, nil, plan.HearingOf(s.Bundle.Encoder)), each)
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
func (s *Set) Answer(ctx context.Context, prompt tensor.Matrix, questions []string) ([]decoder.Result, error) {
	req := decoder.Request{Soft: prompt}
	for i, text := range questions {
		req.Questions = append(req.Questions, decoder.Question{Index: i, Text: text})
	}
	results, err := s.decoder.Answer(ctx, req)
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

// Likelihoods tells how likely texts are as answers to questions about a window, in the order given.
func (s *Set) Likelihoods(ctx context.Context, prompt tensor.Matrix, given []decoder.Given) ([][]decoder.Likelihood, error) {
	told, err := decoder.Likelihoods(ctx, s.decoder, decoder.GivenRequest{Soft: prompt, Given: given})
	if err != nil {
		return nil, fmt.Errorf("reading given answers: %w", err)
	}
	for i, of := range told {
		for _, l := range of {
			if l.Err != nil {
				return nil, fmt.Errorf("reading answers to question %d: %w", i, l.Err)
			}
		}
	}
	return told, nil
}
