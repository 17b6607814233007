package llama

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"github.com/larkstream/larkstream/engine/native/internal/abi"
)

var (
	// ErrNoSlot is returned by Decode when the memory has no room for the batch; nothing of it was taken.
	ErrNoSlot = errors.New("the key-value memory has no room for the batch")
	// ErrAborted is returned by Decode after Abort; what was computed of the batch stays in memory.
	ErrAborted = errors.New("decoding was aborted")
	// ErrBatch is returned by Decode for input that does not continue its sequences; nothing of it was taken.
	ErrBatch = errors.New("the batch is not valid")
)

// KVType is the number format of the key-value memory (ggml_type).
type KVType int32

// Formats of keys and values.
const (
	KVF32 KVType = 0
	KVF16 KVType = 1
)

// ContextOptions say how large a context is. Zero values take llama.cpp's defaults, but for those marked.
type ContextOptions struct {
	Cells      int // positions in memory over all sequences; needed
	Batch      int // most entries of one Decode, at least Sequences; needed
	Microbatch int // most entries computed at once; 0: as Batch
	Sequences  int // how many sequences; needed
	Threads    int // for steps of one token; 0: 4
	// ThreadsBatch are used for longer batches; 0: as Threads.
	ThreadsBatch int
	KV           KVType // KVF32 is the zero value: exact, twice the memory of KVF16
	// Split gives each sequence its own Cells/Sequences of the memory. Sequences that share a prefix need one memory for
	// all: the zero value.
	Split bool
	// FlashAttention computes attention in one pass where the device can; off is the zero value.
	FlashAttention bool
}

// Context is a model's state: the memory of its sequences. Its methods are for one goroutine at a time, but for Abort.
type Context struct {
	model     *Model
	c         uintptr
	memory    uintptr
	batch     int
	sequences int
	cells     int
	split     bool
	decoded   int // entries of the last batch

	mu   sync.Mutex // for flag
	flag uintptr
}

// NewContext makes a context for the model.
func (m *Model) NewContext(o ContextOptions) (*Context, error) {
	if o.Cells < 1 || o.Cells > 1<<24 || o.Batch < 1 || o.Batch > 1<<20 || o.Sequences < 1 || o.Sequences > MaxSequences {
		return nil, fmt.Errorf("making context: %d cells, batches of %d and %d sequences are out of range", o.Cells, o.Batch, o.Sequences)
	}
	if o.Batch < o.Sequences { // llama.cpp makes room for one output of each, and aborts if a batch has less
		return nil, fmt.Errorf("making context: a batch of %d is smaller than the %d sequences", o.Batch, o.Sequences)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.c == 0:
		return nil, fmt.Errorf("making context: model: %w", ErrClosed)
	case m.lib.c.modelEncoder(m.c) || m.lib.c.modelRecurrent(m.c):
		return nil, errors.New("making context: only models that are decoders with attention are known here")
	}
	l := m.lib
	x := &Context{model: m, split: o.Split, sequences: o.Sequences}
	x.flag = l.c.flagNew(abi.InitParams{Size: 256})
	if x.flag == 0 {
		return nil, errors.New("making context: no memory")
	}
	l.c.flagSet(x.flag, false)
	params := o.params()
	params.Abort, params.AbortData = l.cancel, x.flag
	reason := l.native.Explain(func() bool {
		x.c = l.c.initFromModel(m.c, params)
		return x.c != 0
	})
	if x.c == 0 {
		l.c.flagFree(x.flag)
		return nil, fmt.Errorf("making context: %s", orUnknown(reason))
	}
	x.memory = l.c.memory(x.c)
	x.batch, x.cells = int(l.c.batchSize(x.c)), int(l.c.ctxSize(x.c))
	m.contexts++
	return x, nil
}

func (o ContextOptions) params() abi.ContextParams {
	p := abi.DefaultContext()
	p.Ctx, p.Batch, p.Microbatch, p.Seqs = uint32(o.Cells), uint32(o.Batch), uint32(o.Batch), uint32(o.Sequences)
	if o.Microbatch > 0 {
		p.Microbatch = uint32(min(o.Microbatch, o.Batch))
	}
	if o.Threads > 0 {
		p.Threads, p.ThreadsBatch = int32(o.Threads), int32(o.Threads)
	}
	if o.ThreadsBatch > 0 {
		p.ThreadsBatch = int32(o.ThreadsBatch)
	}
	p.TypeK, p.TypeV, p.UnifiedKV = int32(o.KV), int32(o.KV), !o.Split
	p.FlashAttention = 0
	if o.FlashAttention {
		p.FlashAttention = 1
	}
	return p
}

// Close frees the context.
func (x *Context) Close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.c == 0 {
		return
	}
	x.model.lib.c.free(x.c)
	x.model.lib.c.flagFree(x.flag)
	x.c, x.memory, x.flag = 0, 0, 0
	x.model.mu.Lock()
	defer x.model.mu.Unlock()
	x.model.contexts--
}

// Cells is how many positions the memory holds, at least as many as were asked for.
func (x *Context) Cells() int { return x.cells }

// Abort makes a running Decode return ErrAborted after the graph node that is being computed, and the next ones at
// once, until Resume. It may be called from any goroutine. Devices other than the processor end their step first.
func (x *Context) Abort() { x.setFlag(true) }

// Resume ends what Abort began.
func (x *Context) Resume() { x.setFlag(false) }

// setFlag writes the flag that llama.cpp's abort callback reads. llama.cpp calls it for each node of the graph, perhaps
// from a thread of its own, so it is a C function: ggml_get_no_alloc, which reads one bool of a ggml_context, on a
// ggml_context that serves for nothing else.
func (x *Context) setFlag(on bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.flag != 0 {
		x.model.lib.c.flagSet(x.flag, on)
	}
}

// Decode computes the batch. Positions must continue each sequence without gaps. Errors are ErrNoSlot,
// ErrAborted, ErrBatch with the reason, or a fault of the computation; after the latter and ErrAborted the memory holds a part of the
// batch, see SequenceEnd.
func (x *Context) Decode(b *Batch) error {
	if err := x.check(b); err != nil {
		return fmt.Errorf("decoding: %w", err)
	}
	x.decoded = 0
	var rc int32
	reason := x.model.lib.native.Explain(func() bool {
		rc = x.model.lib.c.decode(x.c, b.c)
		if rc == 0 {
			x.model.lib.c.synchronize(x.c)
		}
		return rc == 0
	})
	switch rc {
	case 0:
		x.decoded = b.Len()
		return nil
	case 1:
		return ErrNoSlot
	case 2:
		return ErrAborted
	case -1:
		return fmt.Errorf("decoding: %w: %s", ErrBatch, orUnknown(reason))
	}
	return fmt.Errorf("decoding: llama_decode returned %d: %s", rc, orUnknown(reason))
}

// check refuses what llama_decode would abort on.
func (x *Context) check(b *Batch) error {
	switch {
	case x.c == 0 || b.closed:
		return ErrClosed
	case b.Len() == 0:
		return fmt.Errorf("%w: it is empty", ErrBatch)
	case b.Len() > x.batch:
		return fmt.Errorf("%w: it has %d entries, the context takes %d", ErrBatch, b.Len(), x.batch)
	case b.width != 0 && b.width != x.model.Width():
		return fmt.Errorf("%w: its vectors have %d values, the model takes %d", ErrBatch, b.width, x.model.Width())
	case int(b.maxSeq) >= x.sequences:
		return fmt.Errorf("%w: sequence %d, the context has %d", ErrBatch, b.maxSeq, x.sequences)
	}
	return nil
}

// Logits are the values over the vocabulary after entry i of the last batch, which must have been added with output.
// The slice is C's memory: it is valid until the next Decode or Close and may be written to.
func (x *Context) Logits(i int) ([]float32, error) {
	if x.c == 0 {
		return nil, fmt.Errorf("reading logits: %w", ErrClosed)
	}
	if i < 0 || i >= x.decoded {
		return nil, fmt.Errorf("reading logits: entry %d of a batch of %d", i, x.decoded)
	}
	var row *float32
	reason := x.model.lib.native.Explain(func() bool {
		row = x.model.lib.c.logits(x.c, int32(i))
		return row != nil
	})
	if row == nil {
		return nil, fmt.Errorf("reading logits: %s", orUnknown(reason))
	}
	return unsafe.Slice(row, x.model.vocab.Size()), nil
}

// End stands for the end of a sequence in RemoveSequence and CopySequence.
const End = -1

// RemoveSequence removes the positions [from, to) of a sequence from memory; to may be End.
func (x *Context) RemoveSequence(seq, from, to int) error {
	if err := x.sequence(seq); err != nil {
		return fmt.Errorf("removing sequence: %w", err)
	}
	if !x.model.lib.c.memoryRemove(x.memory, int32(seq), int32(from), int32(to)) {
		return fmt.Errorf("removing positions %d to %d of sequence %d: the memory cannot", from, to, seq)
	}
	return nil
}

// CopySequence lets sequence dst share the positions [from, to) of src; to may be End. With ContextOptions.Split, only
// whole sequences can be copied, and they take their own room.
func (x *Context) CopySequence(src, dst, from, to int) error {
	if err := errors.Join(x.sequence(src), x.sequence(dst)); err != nil {
		return fmt.Errorf("copying sequence: %w", err)
	}
	if x.split && src != dst && (from > 0 || to != End) {
		return errors.New("copying sequence: with split memory only whole sequences are copied")
	}
	if src != dst {
		x.model.lib.c.memoryCopy(x.memory, int32(src), int32(dst), int32(from), int32(to))
	}
	return nil
}

// Clear empties the memory of all sequences.
func (x *Context) Clear() error {
	if x.c == 0 {
		return fmt.Errorf("clearing memory: %w", ErrClosed)
	}
	x.model.lib.c.memoryClear(x.memory, false)
	return nil
}

// SequenceEnd is the position behind the last one that the memory holds of a sequence: 0 when it is empty.
func (x *Context) SequenceEnd(seq int) (int, error) {
	if err := x.sequence(seq); err != nil {
		return 0, fmt.Errorf("looking up sequence: %w", err)
	}
	return int(x.model.lib.c.memoryMax(x.memory, int32(seq))) + 1, nil
}

func (x *Context) sequence(seq int) error {
	if x.c == 0 {
		return ErrClosed
	}
	if seq < 0 || seq >= x.sequences {
		return fmt.Errorf("sequence %d, the context has %d", seq, x.sequences)
	}
	return nil
}
