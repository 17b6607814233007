package llama_test

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/native/llama"
)

func TestDamagedModels(t *testing.T) {
	t.Parallel()
	good := tiny().bytes()
	for name, content := range map[string][]byte{
		"empty": {}, "text": []byte("not a model at all"), "header alone": good[:24], "half of the metadata": good[:4000],
		"no tensors": good[:len(good)/4], "nearly complete": good[:len(good)-64],
	} {
		_, err := open(t).LoadModel(write(t, content), llama.ModelOptions{})
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "gives no reason", name)
	}
	_, err := open(t).LoadModel(filepath.Join(t.TempDir(), "none.gguf"), llama.ModelOptions{})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestBatchesThatAreRefused(t *testing.T) {
	t.Parallel()
	m, table := model(t)
	x := context(t, m, llama.ContextOptions{Cells: 256, Batch: 8, Sequences: 2})
	tokens, vectors := batches(t)
	refused := func(want string, b *llama.Batch) {
		t.Helper()
		err := x.Decode(b)
		require.ErrorIs(t, err, llama.ErrBatch)
		require.ErrorContains(t, err, want)
		b.Reset()
	}
	add := func(token llama.Token, pos, seq int) {
		t.Helper()
		_, err := tokens.AddToken(token, pos, true, seq)
		require.NoError(t, err)
	}
	refused("empty", tokens)
	add(100000, 0, 0)
	refused("invalid token", tokens)
	add(5, 0, 7)
	refused("sequence 7", tokens)
	add(5, 3, 0)
	add(5, 9, 0)
	refused("not continuous", tokens)
	for i := range 9 {
		add(5, i, 0)
	}
	refused("the context takes 8", tokens)
	narrow, err := open(t).NewVectorBatch(4, width-1, 1)
	require.NoError(t, err)
	t.Cleanup(narrow.Close)
	_, err = narrow.AddVector(table[:width-1], 0, true, 0)
	require.NoError(t, err)
	refused("63 values, the model takes 64", narrow)

	_, err = vectors.AddVector(table[:width-1], 0, true, 0)
	require.ErrorContains(t, err, "63")
	_, err = vectors.AddToken(1, 0, true, 0)
	require.Error(t, err)
	_, err = tokens.AddToken(1, -1, true, 0)
	require.Error(t, err)
	_, err = tokens.AddToken(1, 0, true)
	require.Error(t, err)
	require.Error(t, x.RemoveSequence(2, 0, llama.End))
	require.Error(t, x.CopySequence(0, 9, 0, llama.End))
	_, err = x.Logits(0)
	require.Error(t, err)
	// After all that the context still works.
	feed(t, x, tokens, nil, 0, 0, 1, 2, 3)
}

func TestFullMemory(t *testing.T) {
	t.Parallel()
	m, _ := model(t)
	x := context(t, m, llama.ContextOptions{Cells: 256, Batch: 64, Sequences: 1})
	b, _ := batches(t)
	ids := make([]llama.Token, 64)
	for i := range ids {
		ids[i] = 5
	}
	for pos := 0; pos < x.Cells(); pos += len(ids) {
		feed(t, x, b, nil, 0, pos, ids...)
	}
	b.Reset()
	_, err := b.AddToken(5, x.Cells(), true, 0)
	require.NoError(t, err)
	require.ErrorIs(t, x.Decode(b), llama.ErrNoSlot)
}

func TestClosing(t *testing.T) {
	t.Parallel()
	m, err := open(t).LoadModel(write(t, tiny().bytes()), llama.ModelOptions{})
	require.NoError(t, err)
	x, err := m.NewContext(llama.ContextOptions{Cells: 64, Batch: 8, Sequences: 1})
	require.NoError(t, err)
	require.ErrorContains(t, m.Close(), "1 contexts are open")
	_, err = m.NewContext(llama.ContextOptions{Cells: 64, Batch: 3, Sequences: 4})
	require.ErrorContains(t, err, "a batch of 3 is smaller than the 4 sequences")
	x.Close()
	x.Close()
	x.Abort()
	b, _ := batches(t)
	_, err = b.AddToken(1, 0, true, 0)
	require.NoError(t, err)
	require.ErrorIs(t, x.Decode(b), llama.ErrClosed)
	require.NoError(t, m.Close())
	require.NoError(t, m.Close())
	_, err = m.NewContext(llama.ContextOptions{Cells: 64, Batch: 8, Sequences: 1})
	require.ErrorIs(t, err, llama.ErrClosed)
	_, err = m.Vocab().Piece(5, false)
	require.ErrorIs(t, err, llama.ErrClosed)
	require.False(t, m.Vocab().IsEnd(2))
}

func TestGrammar(t *testing.T) {
	t.Parallel()
	m, _ := model(t)
	v := m.Vocab()
	for _, bad := range []string{"", "root ::= \"unclosed", "root ::= missing", "other ::= \"a\""} {
		_, err := v.NewGrammar(bad, "root")
		require.Error(t, err, bad)
	}
	g, err := v.NewGrammar(`root ::= "{" ("b" | "c") "}"`, "root")
	require.NoError(t, err)
	t.Cleanup(g.Close)
	id := func(text string) llama.Token {
		for i := range llama.Token(v.Size()) {
			if e, err := v.Entry(i); err == nil && e.Text == text {
				return i
			}
		}
		require.Fail(t, "no such token", text)
		return 0
	}
	end := v.Special().EOS
	require.True(t, g.Allows(id("{")))
	require.False(t, g.Allows(id("b")))
	require.False(t, g.Allows(end))
	require.ErrorContains(t, g.Accept(end), "may not come next", "llama.cpp would abort")
	for _, text := range []string{"{", "c", "}"} {
		logits := make([]float32, v.Size())
		require.NoError(t, g.Mask(logits))
		require.Zero(t, logits[id(text)])
		require.True(t, math.IsInf(float64(logits[id("▁a")]), -1))
		require.NoError(t, g.Accept(id(text)))
	}
	require.True(t, g.Allows(end))
	require.NoError(t, g.Accept(end))
	g.Reset()
	require.True(t, g.Allows(id("{")))
	require.Error(t, g.Mask(make([]float32, 3)))
}

func TestVocabulary(t *testing.T) {
	t.Parallel()
	m, _ := model(t)
	v := m.Vocab()
	require.Equal(t, llama.VocabSPM, v.Type())
	require.Equal(t, llama.Token(1), v.Special().BOS)
	require.True(t, v.IsEnd(2))
	require.True(t, v.IsControl(1))
	for _, text := range []string{"", "ab", "{\"ab c\"}", "a\x00b", "naïve 🎵", "\xff\xfe", "<audio>"} {
		tokens, err := v.Tokenize(text, false, false)
		require.NoError(t, err)
		require.NotContains(t, tokens, llama.Token(v.Size()-1), "text does not become a special token")
		if text == "\xff\xfe" {
			continue // is not UTF-8, and is replaced
		}
		joined, err := v.Detokenize(tokens, false, false)
		require.NoError(t, err)
		require.Equal(t, text, joined)
	}
	tokens, err := v.Tokenize("<audio>", true, true)
	require.NoError(t, err)
	require.Equal(t, []llama.Token{1, llama.Token(v.Size() - 1)}, tokens)
	for _, bad := range []llama.Token{-1, llama.Token(v.Size())} {
		_, err = v.Piece(bad, true)
		require.Error(t, err)
		_, err = v.Entry(bad)
		require.Error(t, err)
		_, err = v.Detokenize([]llama.Token{bad}, false, false)
		require.Error(t, err)
		require.False(t, v.IsEnd(bad))
	}
}

func TestQuantize(t *testing.T) {
	t.Parallel()
	in := write(t, tiny().bytes())
	out := filepath.Join(t.TempDir(), "small.gguf")
	require.NoError(t, open(t).Quantize(in, out, llama.QuantizeOptions{Type: llama.FileQ8_0, Threads: 1}))
	small, err := open(t).LoadModel(out, llama.ModelOptions{})
	require.NoError(t, err)
	defer func() { require.NoError(t, small.Close()) }()
	m, _ := model(t)
	require.Less(t, small.Shape().Bytes, m.Shape().Bytes/2)
	require.Equal(t, m.Shape().Weights, small.Shape().Weights)
	require.Error(t, open(t).Quantize(write(t, []byte("nothing")), out, llama.QuantizeOptions{Type: llama.FileQ8_0}))
	require.Error(t, open(t).Quantize(filepath.Join(t.TempDir(), "none"), out, llama.QuantizeOptions{}))
}
