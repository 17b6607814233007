package llama_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/native/llama"
)

func TestModelShape(t *testing.T) {
	t.Parallel()
	m, _ := model(t)
	texts, _ := words()
	s := m.Shape()
	require.Equal(t, trained, s.Context)
	require.Equal(t, width, s.Width)
	require.Equal(t, layers, s.Layers)
	require.Equal(t, heads, s.Heads)
	require.Equal(t, heads/2, s.HeadsKV)
	require.Equal(t, len(texts), s.Tokens)
	require.Equal(t, width, m.Width())
	require.Contains(t, s.Name, "llama")
	v, ok := m.Meta("general.architecture")
	require.True(t, ok)
	require.Equal(t, "llama", v)
	_, ok = m.Meta("no.such.key")
	require.False(t, ok)
}

// feed decodes ids as tokens, or as their embedding rows, and returns a copy of the last logits.
func feed(t *testing.T, x *llama.Context, b *llama.Batch, table []float32, seq, pos int, ids ...llama.Token) []float32 {
	t.Helper()
	b.Reset()
	for i, id := range ids {
		var err error
		if table == nil {
			_, err = b.AddToken(id, pos+i, i == len(ids)-1, seq)
		} else {
			_, err = b.AddVector(table[int(id)*width:int(id+1)*width], pos+i, i == len(ids)-1, seq)
		}
		require.NoError(t, err)
	}
	require.NoError(t, x.Decode(b))
	row, err := x.Logits(len(ids) - 1)
	require.NoError(t, err)
	return slices.Clone(row)
}

func TestVectorsEqualTheirTokens(t *testing.T) {
	t.Parallel()
	m, table := model(t)
	x := context(t, m, llama.ContextOptions{Cells: 256, Batch: 64, Sequences: 4})
	tokens, vectors := batches(t)
	ids := []llama.Token{1, 263, 41, 7, 262, 30}
	byToken := feed(t, x, tokens, nil, 0, 0, ids...)
	byVector := feed(t, x, vectors, table, 1, 0, ids...)
	require.InDeltaSlice(t, byToken, byVector, 1e-5)
	require.Len(t, byToken, m.Vocab().Size())

	// A shared prefix equals one computed again.
	require.NoError(t, x.CopySequence(0, 2, 0, 4))
	require.InDeltaSlice(t, byToken, feed(t, x, tokens, nil, 2, 4, ids[4:]...), 1e-5)
	end, err := x.SequenceEnd(2)
	require.NoError(t, err)
	require.Equal(t, len(ids), end)
	require.NoError(t, x.RemoveSequence(2, 3, llama.End))
	end, err = x.SequenceEnd(2)
	require.NoError(t, err)
	require.Equal(t, 3, end)
	require.NoError(t, x.Clear())
	end, err = x.SequenceEnd(0)
	require.NoError(t, err)
	require.Zero(t, end)
}

func batches(t *testing.T) (tokens, vectors *llama.Batch) {
	t.Helper()
	tokens, err := open(t).NewTokenBatch(64, 2)
	require.NoError(t, err)
	t.Cleanup(tokens.Close)
	vectors, err = open(t).NewVectorBatch(64, width, 2)
	require.NoError(t, err)
	t.Cleanup(vectors.Close)
	return tokens, vectors
}

func TestAbort(t *testing.T) {
	t.Parallel()
	m, _ := model(t)
	x := context(t, m, llama.ContextOptions{Cells: 64, Batch: 64, Sequences: 1})
	b, _ := batches(t)
	_, err := b.AddToken(1, 0, true, 0)
	require.NoError(t, err)
	x.Abort()
	require.ErrorIs(t, x.Decode(b), llama.ErrAborted)
	x.Resume()
	require.NoError(t, x.RemoveSequence(0, 0, llama.End))
	require.NoError(t, x.Decode(b))
}
