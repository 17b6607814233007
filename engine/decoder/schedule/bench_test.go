package schedule

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
)

// idle is a backend that computes nothing: its scores are always the same.
type idle struct {
	shape  Shape
	scores [][]float32
	steps  int
}

func (b *idle) Shape() Shape             { return b.shape }
func (b *idle) Open(int, int, int) error { return nil }
func (b *idle) Free(int)                 {}
func (b *idle) Used() int                { return 0 }
func (b *idle) Close() error             { return nil }

func (b *idle) Extend(rows []Rows) ([][]float32, error) {
	b.steps++
	return b.scores[:len(rows)], nil
}

// many is letters with as many tokens as Llama 2.
type many struct{}

func (many) Size() int                        { return 32000 }
func (many) Normalize(question string) string { return question }
func (many) Stops() []int                     { return nil }
func (many) Piece(id int) ([]byte, error)     { return []byte{byte(id)}, nil }
func (many) SpecialAt(string) (id, size int)  { return 0, 0 }
func (many) Plain(text string) ([]int, error) { return make([]int, len(text)), nil }

// BenchmarkStep is the scheduler's own time: each operation is one step of decoding 8 answers greedily over 32000 tokens.
func BenchmarkStep(b *testing.B) {
	shape := Shape{Hidden: 4, Vocab: 32000, Context: 1 << 20, Positions: 1 << 30, Sequences: 64, Chunk: 128}
	backend := &idle{shape: shape}
	for range 200 {
		scores := make([]float32, shape.Vocab)
		scores['a'] = 1
		backend.scores = append(backend.scores, scores)
	}
	cfg := Config{Prompt: model.Prompt{Prefix: "a", Suffix: "b", Question: "{question}", MaxTokens: 1 << 19}}
	cfg.Prompt.MaxTokens = shape.Context
	e, err := New(cfg, Deps{Backend: backend, Vocabulary: many{}})
	require.NoError(b, err)
	req := contract.Request{Soft: tensor.Matrix{Rows: 1, Cols: 4, Data: make([]float32, 4)}, Decode: contract.Decode{MaxTokens: b.N}}
	for i := range 8 {
		req.Questions = append(req.Questions, contract.Question{Index: i})
	}
	b.ResetTimer()
	_, err = e.Answer(b.Context(), req)
	require.NoError(b, err)
	b.StopTimer()
	require.NoError(b, e.Close())
	require.GreaterOrEqual(b, backend.steps, b.N)
}
