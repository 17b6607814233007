package schedule

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/tokenizer"
	"github.com/larkstream/larkstream/engine/model/modeltest"
)

func TestSizesThatDoNotBelongTogether(t *testing.T) {
	t.Parallel()
	tok, err := tokenizer.Parse(modeltest.Tokenizer(t))
	require.NoError(t, err)
	good := Shape{Hidden: 4, Vocab: tok.Size(), Context: 10, Positions: 10, Sequences: 20, Chunk: 4}
	for want, broken := range map[string]func(*Shape, *Config){
		"do not belong together":  func(s *Shape, _ *Config) { s.Vocab++ },
		"cannot hold one context": func(s *Shape, _ *Config) { s.Positions-- },
		"max_batch 16 must be":    func(s *Shape, _ *Config) { s.Sequences = 16 },
		"max_batch -1 must be":    func(_ *Shape, c *Config) { c.MaxBatch = -1 },
		"the frames must stand":   func(_ *Shape, c *Config) { c.Prompt.Prefix = "" },
	} {
		shape, cfg := good, Config{Prompt: modeltest.Manifest().Prompt}
		broken(&shape, &cfg)
		b := &closing{shape: shape}
		_, err := New(cfg, Deps{Backend: b, Vocabulary: tok})
		require.ErrorContains(t, err, want)
		require.True(t, b.closed, "a backend that cannot be used is closed")
	}
	_, err = New(Config{}, Deps{})
	require.ErrorContains(t, err, "a dependency is missing")
}

// closing is a backend that only knows its shape.
type closing struct {
	Backend
	shape  Shape
	closed bool
}

func (c *closing) Shape() Shape { return c.shape }

func (c *closing) Close() error {
	c.closed = true
	return nil
}
