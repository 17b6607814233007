package audiobundle_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/model/audiobundle/audiotest"
)

func quiet(int64, int64) {}

func TestPairsAndFoldersBecomeBundles(t *testing.T) {
	t.Parallel()
	m := audiotest.Load(t)
	for _, family := range audiotest.Families {
		for _, form := range []string{"gguf", "hf"} {
			cfg := audiotest.Config(family, form)
			cfg.Out = filepath.Join(t.TempDir(), "out")
			made, err := audiobundle.Import(t.Context(), cfg, quiet)
			require.NoError(t, err, "%s %s", family, form)
			b, err := model.LoadComplete(cfg.Out)
			require.NoError(t, err)
			require.Equal(t, made, b.Manifest)
			c := m.Cases[family]["short"]
			require.Equal(t, c.Prefix, b.Prompt.Prefix)
			require.Equal(t, c.Suffix, b.Prompt.Suffix+m.Question+b.Prompt.Question[len(model.Question):])
			require.Equal(t, 16000, b.Encoder.Rate())
		}
	}
}
