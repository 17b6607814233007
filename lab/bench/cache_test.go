package bench

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Real embeddings of the bundled model pack, and what is read is what was stored.
func TestCacheFormsOfTheBundledPiece(t *testing.T) {
	t.Parallel()
	models := filepath.Join("..", "..", "models")
	r, err := RunCache(t.Context(), CacheConfig{
		ModelDir: filepath.Join(models, "lark-nano"), Tracks: []string{filepath.Join(models, "demo", "larksong.mp3")}, Windows: 1, Rounds: 1,
		Progress: func(string) {},
	})
	require.NoError(t, err)
	require.Equal(t, 1, r.Windows)
	require.Len(t, r.Forms, 4)
	for i, f := range r.Forms {
		if f.Codec == "zstd" {
			require.LessOrEqual(t, f.Bytes, r.Forms[i-1].Bytes, "what does not shrink is stored plain")
			if f.DType == "f32" {
				require.Less(t, f.Ratio, 1.0)
			}
		}
	}
	var page bytes.Buffer
	r.Write(&page)
	require.Contains(t, page.String(), "| f16 | zstd |")

	_, err = RunCache(t.Context(), CacheConfig{ModelDir: filepath.Join(models, "lark-nano"), Layers: 3})
	require.ErrorContains(t, err, "layers")
}
