package llamacpp

import (
	"fmt"

	"github.com/larkstream/larkstream/engine/decoder/schedule"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/native/llama"
)

// Backend is a llama.cpp context whose memory all sequences share. One goroutine uses it at a time.
type Backend struct {
	model   *llama.Model
	ctx     *llama.Context
	tokens  *llama.Batch
	vectors *llama.Batch
	shape   schedule.Shape
	texts   map[int]*text
	scores  []float32 // of one Extend: rows that ask for them x Vocab
}

var _ schedule.Backend = (*Backend)(nil)

// text is what is known of an open sequence.
type text struct {
	prefix int // positions shared with another sequence
	next   int // position
	end    int // first position behind its room
}

func newBackend(lib *llama.Library, m *llama.Model, l model.LLM, cfg Config) (b *Backend, err error) {
	sequences := min(llama.MaxSequences, 4*cfg.MaxBatch) // answers, and the prefixes of as many windows three times
	b = &Backend{model: m, texts: map[int]*text{}, shape: schedule.Shape{
		Hidden: l.Hidden, Vocab: l.Vocab, Context: l.Context, Positions: cfg.Positions, Sequences: sequences, Chunk: cfg.Chunk,
	}}
	rows := max(cfg.MaxBatch+2*cfg.Chunk, sequences) // what one step of the scheduler holds
	kv := llama.KVF16
	if cfg.ExactKV {
		kv = llama.KVF32
	}
	b.ctx, err = m.NewContext(llama.ContextOptions{
		Cells: cfg.Positions, Batch: rows, Sequences: sequences, Threads: cfg.Threads, KV: kv,
	})
	if err != nil {
		return nil, err
	}
	if b.tokens, err = lib.NewTokenBatch(rows, 1); err == nil {
		b.vectors, err = lib.NewVectorBatch(rows, m.Width(), 1)
	}
	if err != nil {
		b.free()
		return nil, err
	}
	return b, nil
}

// Shape implements schedule.Backend.
func (b *Backend) Shape() schedule.Shape { return b.shape }

// Open implements schedule.Backend.
func (b *Backend) Open(seq, prefix, room int) error {
	t := &text{}
	if prefix != schedule.None {
		t.prefix = b.texts[prefix].next
		if err := b.ctx.CopySequence(prefix, seq, 0, llama.End); err != nil {
			return err
		}
	}
	t.next, t.end = t.prefix, t.prefix+room
	b.texts[seq] = t
	return nil
}

// Extend implements schedule.Backend. A call of llama_decode takes tokens or vectors: first go the tokens that follow no
// vectors of this step, then the vectors, and so on.
func (b *Backend) Extend(rows []schedule.Rows) ([][]float32, error) {
	s := &step{Backend: b, rows: rows, scores: make([][]float32, len(rows))}
	wanted := 0
	for _, r := range rows {
		if r.Scores {
			wanted++
		}
	}
	if n := wanted * b.shape.Vocab; cap(b.scores) < n {
		b.scores = make([]float32, n)
	}
	s.room = b.scores[:wanted*b.shape.Vocab]
	for phase, left := range phases(rows) {
		batch := b.tokens
		if phase%2 == 1 {
			batch = b.vectors
		}
		if err := s.run(batch, left); err != nil {
			return nil, err
		}
	}
	return s.scores, nil
}

// phases sorts the indexes of rows: phases of even number hold tokens, phases of odd number hold vectors, and rows of
// one sequence stand in order.
func phases(rows []schedule.Rows) [][]int {
	var list [][]int
	last := map[int]int{}
	for i, r := range rows {
		phase := last[r.Seq]
		if vectors := len(r.Vectors) > 0; vectors != (phase%2 == 1) {
			phase++
		}
		last[r.Seq] = phase
		for len(list) <= phase {
			list = append(list, nil)
		}
		list[phase] = append(list[phase], i)
	}
	return list
}

// step is one Extend.
type step struct {
	*Backend
	rows   []schedule.Rows
	scores [][]float32
	room   []float32 // for scores, what is not yet used of it
	asked  []asked   // in the batch under way
}

// asked is an entry of a batch whose scores a row wants.
type asked struct{ entry, row int }

// run decodes the rows with these indexes, in as many batches as they need.
func (s *step) run(batch *llama.Batch, indexes []int) error {
	for _, i := range indexes {
		r, t := s.rows[i], s.texts[s.rows[i].Seq]
		n := len(r.Tokens) + len(r.Vectors)/s.shape.Hidden
		if t.next+n > t.end {
			return fmt.Errorf("reading %d rows at position %d of a text with room up to %d", n, t.next, t.end)
		}
		for j := range n {
			if batch.Len() == batch.Cap() {
				if err := s.decode(batch); err != nil {
					return err
				}
			}
			output := r.Scores && j == n-1
			entry, err := s.add(batch, r, j, t.next, output)
			if err != nil {
				return err
			}
			if output {
				s.asked = append(s.asked, asked{entry, i})
			}
			t.next++
		}
	}
	return s.decode(batch)
}

func (s *step) add(batch *llama.Batch, r schedule.Rows, j, pos int, output bool) (int, error) {
	if len(r.Tokens) > 0 {
		return batch.AddToken(llama.Token(r.Tokens[j]), pos, output, r.Seq)
	}
	return batch.AddVector(r.Vectors[j*s.shape.Hidden:][:s.shape.Hidden], pos, output, r.Seq)
}

// decode computes a batch, keeps the scores asked for and empties it.
func (s *step) decode(batch *llama.Batch) error {
	if batch.Len() == 0 {
		return nil
	}
	err := s.ctx.Decode(batch)
	batch.Reset()
	if err != nil {
		return err
	}
	for _, a := range s.asked {
		logits, err := s.ctx.Logits(a.entry)
		if err != nil {
			return err
		}
		s.scores[a.row], s.room = s.room[:len(logits):len(logits)], s.room[len(logits):]
		copy(s.scores[a.row], logits)
	}
	s.asked = s.asked[:0]
	return nil
}

// Free implements schedule.Backend.
func (b *Backend) Free(seq int) {
	if b.texts[seq] == nil {
		return
	}
	delete(b.texts, seq)
	_ = b.ctx.RemoveSequence(seq, 0, llama.End) // whole sequences can always be removed (llama.h); Used tells if not
}

// Used implements schedule.Backend. It asks the memory itself.
func (b *Backend) Used() int {
	n := 0
	for seq := range b.shape.Sequences {
		end, err := b.ctx.SequenceEnd(seq)
		if err != nil {
			continue // closed
		}
		if t := b.texts[seq]; t != nil {
			end -= t.prefix
		}
		n += end
	}
	return n
}

// Close frees context and model. Closing twice does nothing.
func (b *Backend) Close() error {
	b.free()
	return b.model.Close()
}

func (b *Backend) free() {
	for _, batch := range []*llama.Batch{b.tokens, b.vectors} {
		if batch != nil {
			batch.Close()
		}
	}
	b.ctx.Close()
}
