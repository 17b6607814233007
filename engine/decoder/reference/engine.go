package reference

import (
	"errors"
	"fmt"

	"github.com/larkstream/larkstream/engine/decoder/notes"
	"github.com/larkstream/larkstream/engine/decoder/prompt"
	"github.com/larkstream/larkstream/engine/decoder/schedule"
	"github.com/larkstream/larkstream/engine/decoder/tokenizer"
	"github.com/larkstream/larkstream/engine/model"
)

const (
	// chunk is the most rows of a prompt that are read in one piece.
	chunk = 128
	// sequences bounds how many sequences are held at a time; a sequence costs nothing but its positions.
	sequences = 4096
)

// Config bounds the engine.
type Config struct {
	// MaxBatch is how many answers are decoded in one step. 0: 16.
	MaxBatch int
	// Positions is the budget of keys and values that are held at a time, in positions; at least the model's context.
	// 0: 16 contexts.
	Positions int
	// Vocabulary turns text into tokens and back; nil: the bundle's own tokenizer.
	Vocabulary prompt.Vocabulary
}

// Open loads the decoder of a bundle and starts its scheduler.
func Open(b *model.Bundle, cfg Config) (*schedule.Engine, error) {
	if cfg.Vocabulary == nil {
		tok, err := tokenizer.Open(b.TokenizerPath())
		if err != nil {
			return nil, err
		}
		cfg.Vocabulary = tok
	}
	backend, err := OpenBackend(b, cfg.Positions)
	if err != nil {
		return nil, fmt.Errorf("opening the decoder: %w", err)
	}
	sheet, err := notes.Of(b)
	if err != nil {
		return nil, fmt.Errorf("opening the decoder: %w", errors.Join(err, backend.Close()))
	}
	return schedule.New(schedule.Config{MaxBatch: cfg.MaxBatch, Prompt: b.Prompt, Notes: sheet}, schedule.Deps{Backend: backend, Vocabulary: cfg.Vocabulary})
}

// Backend is the forward pass as the scheduler uses it.
type Backend struct {
	w         *weights
	ws        workspace
	positions int
	texts     map[int]*thread
	scores    []float32
}

var _ schedule.Backend = (*Backend)(nil)

// OpenBackend loads the decoder's weights. positions as in Config.
func OpenBackend(b *model.Bundle, positions int) (*Backend, error) {
	w, err := loadWeights(b)
	if err != nil {
		return nil, err
	}
	if positions == 0 {
		positions = 16 * w.Context
	}
	return &Backend{w: w, positions: positions, texts: map[int]*thread{}}, nil
}

// Shape implements schedule.Backend.
func (b *Backend) Shape() schedule.Shape {
	return schedule.Shape{
		Hidden: b.w.Hidden, Vocab: b.w.Vocab, Context: b.w.Context, Positions: b.positions, Sequences: sequences, Chunk: chunk,
	}
}

// Open implements schedule.Backend.
func (b *Backend) Open(seq, prefix, room int) error {
	t := &thread{own: b.w.newMemory(room)}
	if prefix != schedule.None {
		t.prefix = b.texts[prefix].own
	}
	b.texts[seq] = t
	return nil
}

// Extend implements schedule.Backend. Single tokens that follow each other are decoded as one batch; the scores of each are
// the same bits whatever the batch.
func (b *Backend) Extend(rows []schedule.Rows) ([][]float32, error) {
	scores := make([][]float32, len(rows))
	buffer := grow(&b.scores, len(rows)*b.w.Vocab)
	keep := func(i int, logits []float32) {
		if !rows[i].Scores {
			return
		}
		scores[i] = buffer[i*b.w.Vocab:][:b.w.Vocab]
		copy(scores[i], logits)
	}
	for i := 0; i < len(rows); {
		threads, tokens := b.singles(rows[i:])
		if len(tokens) > 0 {
			logits := b.w.decode(&b.ws, threads, tokens)
			for j := range tokens {
				keep(i+j, logits[j*b.w.Vocab:])
			}
			i += len(tokens)
			continue
		}
		hidden := b.w.prefill(&b.ws, b.texts[rows[i].Seq], b.vectors(rows[i]))
		if rows[i].Scores {
			keep(i, b.w.logits(&b.ws, hidden))
		}
		i++
	}
	return scores, nil
}

// singles are the single tokens of different sequences that rows begins with.
func (b *Backend) singles(rows []schedule.Rows) (threads []*thread, tokens []int) {
	seen := map[int]bool{}
	for _, r := range rows {
		if len(r.Tokens) != 1 || seen[r.Seq] {
			break
		}
		seen[r.Seq] = true
		threads, tokens = append(threads, b.texts[r.Seq]), append(tokens, r.Tokens[0])
	}
	return threads, tokens
}

// vectors are what a piece of a prompt stands for, in memory of its own.
func (b *Backend) vectors(r schedule.Rows) []float32 {
	x := append([]float32(nil), r.Vectors...)
	for _, id := range r.Tokens {
		x = append(x, b.w.row(id)...)
	}
	return x
}

// Free implements schedule.Backend.
func (b *Backend) Free(seq int) { delete(b.texts, seq) }

// Used implements schedule.Backend.
func (b *Backend) Used() int {
	n := 0
	for _, t := range b.texts {
		n += t.own.size
	}
	return n
}

// Close implements schedule.Backend.
func (b *Backend) Close() error { return nil }
