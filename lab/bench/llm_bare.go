package bench

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"

	"github.com/larkstream/larkstream/engine/native/llama"
)

// The engine's sizes, so that both compute with the same context.
const (
	bareContexts = 4
	bareRows     = 272
)

// bare is the least that decodes: llama_decode and the token of the highest score, without a scheduler.
type bare struct {
	ctx     *llama.Context
	tokens  *llama.Batch
	vectors *llama.Batch
	width   int
	vocab   int
}

// bareRound measures the loop with every number of sequences.
func (b *llmBench) bareRound(ctx context.Context) (err error) {
	lib, err := llama.Open(b.NativeDir, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	m, err := lib.LoadModel(b.bundle.LLMPath(), llama.ModelOptions{CPUOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	x, err := m.NewContext(llama.ContextOptions{
		Cells: bareContexts * b.bundle.LLM.Context, Batch: bareRows, Sequences: llama.MaxSequences, Threads: b.Threads, KV: llama.KVF16,
	})
	if err != nil {
		return err
	}
	defer x.Close()
	l := &bare{ctx: x, width: m.Width(), vocab: m.Vocab().Size()}
	if l.tokens, err = lib.NewTokenBatch(bareRows, 1); err != nil {
		return err
	}
	defer l.tokens.Close()
	if l.vectors, err = lib.NewVectorBatch(bareRows, l.width, 1); err != nil {
		return err
	}
	defer l.vectors.Close()
	for i := range b.report.Rates {
		rate := &b.report.Rates[i]
		took, err := l.run(ctx, rate.Sequences, b.prompt, b.Frames, b.Tokens)
		if err != nil {
			return err
		}
		add(&rate.Bare, &rate.BareCore, rate.Sequences*(b.Tokens-1), took)
	}
	return nil
}

// run reads one prompt for all sequences and lets each grow by tokens; the first token comes with the prompt. It returns
// what the others took.
func (l *bare) run(ctx context.Context, sequences, prompt, frames, tokens int) (took stretch, err error) {
	if err := l.read(prompt-1, frames); err != nil {
		return took, err
	}
	next := make([]llama.Token, sequences)
	for seq := range next {
		next[seq] = llama.Token(seq % l.vocab)
		if err := l.ctx.CopySequence(0, seq, 0, llama.End); err != nil {
			return took, err
		}
	}
	if err := l.step(next, prompt-1); err != nil {
		return took, err
	}
	began := now()
	for i := range tokens - 1 {
		if err := errors.Join(ctx.Err(), l.step(next, prompt+i)); err != nil {
			return took, err
		}
	}
	return began.until(now()), l.ctx.Clear()
}

// read puts n positions into sequence 0; the last positions are frames.
func (l *bare) read(n, frames int) error {
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a load, not a secret
	soft := noise(rng, frames, l.width)
	for pos := range n {
		batch, err := l.tokens, error(nil)
		if frame := pos - (n - frames); frame >= 0 {
			batch = l.vectors
			_, err = batch.AddVector(soft.Data[frame*l.width:][:l.width], pos, false, 0)
		} else {
			_, err = batch.AddToken(llama.Token(pos%l.vocab), pos, false, 0)
		}
		if err != nil {
			return err
		}
		if batch.Len() == batch.Cap() || pos == n-frames-1 || pos == n-1 {
			if err := l.ctx.Decode(batch); err != nil {
				return err
			}
			batch.Reset()
		}
	}
	return nil
}

// step adds the next token of every sequence at pos and chooses the one after it.
func (l *bare) step(next []llama.Token, pos int) error {
	l.tokens.Reset()
	for seq, token := range next {
		if _, err := l.tokens.AddToken(token, pos, true, seq); err != nil {
			return err
		}
	}
	if err := l.ctx.Decode(l.tokens); err != nil {
		return err
	}
	for seq := range next {
		scores, err := l.ctx.Logits(seq)
		if err != nil {
			return err
		}
		best := 0
		for id, s := range scores {
			if s > scores[best] {
				best = id
			}
		}
		next[seq] = llama.Token(best)
	}
	l.tokens.Reset()
	return nil
}
