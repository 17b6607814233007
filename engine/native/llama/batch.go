package llama

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/larkstream/larkstream/engine/native/internal/abi"
)

// Batch holds the input of one Decode: either tokens or vectors, each at a position of one or more sequences.
type Batch struct {
	lib      *Library
	c        abi.Batch
	capacity int
	width    int // 0 for tokens
	seqs     int
	maxSeq   int32 // highest sequence in the batch
	closed   bool
}

// NewTokenBatch makes a batch of up to capacity tokens, each in up to seqs sequences.
func (l *Library) NewTokenBatch(capacity, seqs int) (*Batch, error) {
	return l.newBatch(capacity, 0, seqs)
}

// NewVectorBatch makes a batch of up to capacity vectors of the width of Model.Width, each in up to seqs sequences.
func (l *Library) NewVectorBatch(capacity, width, seqs int) (*Batch, error) {
	if width < 1 || width > 1<<20 {
		return nil, fmt.Errorf("making batch: %d is no width of a vector", width)
	}
	return l.newBatch(capacity, width, seqs)
}

func (l *Library) newBatch(capacity, width, seqs int) (*Batch, error) {
	if capacity < 1 || capacity > 1<<20 || seqs < 1 || seqs > MaxSequences {
		return nil, fmt.Errorf("making batch: %d entries of %d sequences are outside 1..%d of 1..%d", capacity, seqs, 1<<20, MaxSequences)
	}
	b := &Batch{lib: l, capacity: capacity, width: width, seqs: seqs}
	b.c = l.c.batchInit(int32(capacity), int32(width), int32(seqs))
	if b.c.Pos == nil || b.c.Token == nil && b.c.Embd == nil {
		return nil, errors.New("making batch: no memory")
	}
	b.Reset()
	return b, nil
}

// Close frees the batch.
func (b *Batch) Close() {
	if !b.closed {
		b.closed = true
		b.lib.c.batchFree(b.c)
	}
}

// Reset empties the batch.
func (b *Batch) Reset() { b.c.Tokens, b.maxSeq = 0, 0 }

// Len is how many entries the batch holds.
func (b *Batch) Len() int { return int(b.c.Tokens) }

// Cap is how many entries fit in.
func (b *Batch) Cap() int { return b.capacity }

// AddToken adds a token at a position of the sequences, and returns its index in the batch. With output, Decode
// computes the logits after it.
func (b *Batch) AddToken(token Token, pos int, output bool, seqs ...int) (int, error) {
	if b.width != 0 {
		return 0, errors.New("adding a token to a batch of vectors")
	}
	i, err := b.add(pos, output, seqs)
	if err != nil {
		return 0, fmt.Errorf("adding token: %w", err)
	}
	unsafe.Slice(b.c.Token, b.capacity)[i] = token
	return i, nil
}

// AddVector adds a vector at a position of the sequences, as AddToken. The vector is copied.
func (b *Batch) AddVector(v []float32, pos int, output bool, seqs ...int) (int, error) {
	if len(v) != b.width || b.width == 0 {
		return 0, fmt.Errorf("adding vector: it has %d values, the batch is made for %d", len(v), b.width)
	}
	i, err := b.add(pos, output, seqs)
	if err != nil {
		return 0, fmt.Errorf("adding vector: %w", err)
	}
	copy(unsafe.Slice(b.c.Embd, b.capacity*b.width)[i*b.width:], v)
	return i, nil
}

func (b *Batch) add(pos int, output bool, seqs []int) (int, error) {
	i := int(b.c.Tokens)
	switch {
	case b.closed:
		return 0, ErrClosed
	case i >= b.capacity:
		return 0, fmt.Errorf("the batch is full (%d)", b.capacity)
	case pos < 0 || pos > 1<<30:
		return 0, fmt.Errorf("position %d is out of range", pos)
	case len(seqs) == 0 || len(seqs) > b.seqs:
		return 0, fmt.Errorf("%d sequences, the batch is made for 1 to %d", len(seqs), b.seqs)
	}
	ids := unsafe.Slice(unsafe.Slice(b.c.Seq, b.capacity)[i], b.seqs)
	for j, s := range seqs {
		if s < 0 || s >= MaxSequences {
			return 0, fmt.Errorf("sequence %d is outside 0..%d", s, MaxSequences-1)
		}
		ids[j] = int32(s)
		b.maxSeq = max(b.maxSeq, int32(s))
	}
	unsafe.Slice(b.c.Pos, b.capacity)[i] = int32(pos)
	unsafe.Slice(b.c.NSeq, b.capacity)[i] = int32(len(seqs))
	flag := &unsafe.Slice(b.c.Logits, b.capacity)[i]
	*flag = 0
	if output {
		*flag = 1
	}
	b.c.Tokens++
	return i, nil
}
