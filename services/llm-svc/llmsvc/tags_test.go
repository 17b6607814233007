package llmsvc_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder"
	"github.com/larkstream/larkstream/engine/model/llamabundle"
	"github.com/larkstream/larkstream/engine/native/nativetest"
	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/services/llm-svc/llmsvc"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// TestEveryEngineGivesTags: also with random weights, what comes out is tags, by the grammar or from sentences. Random weights
// may talk up to their limit of tokens, twice; that ends as the code schema and nothing else.
func TestEveryEngineGivesTags(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, c *llmsvc.Config){
		"reference": func(*testing.T, *llmsvc.Config) {},
		"test":      func(_ *testing.T, c *llmsvc.Config) { c.Engine = decoder.Test },
		"llamacpp": func(t *testing.T, c *llmsvc.Config) {
			t.Helper()
			c.NativeDir, c.Threads, c.ModelDir = nativetest.Dir(t), 1, t.TempDir()
			random := llamabundle.RandomConfig{Preset: "tiny", Seed: 1, Quant: "f32", Out: c.ModelDir}
			_, err := llamabundle.Random(t.Context(), random, func(int64, int64) {})
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, func(c *llmsvc.Config) { change(t, c) })
			w.schema = event.SchemaTags
			answered := 0
			for i := range 3 {
				w.ask(t, i, 20, tags.DefaultQuestion)
			}
			for range 3 {
				o := <-w.answers
				require.Equal(t, event.SchemaTags, o.GetResponseSchema())
				if o.GetState() == eventpb.State_STATE_ANSWERED {
					answered++
					got, err := tags.Parse([]byte(o.GetAnswer()))
					require.NoError(t, err)
					require.Equal(t, got.String(), o.GetAnswer())
					continue
				}
				require.Equal(t, event.CodeSchema, o.GetError().GetCode(), o.GetError().GetMessage())
			}
			require.Positive(t, answered)
		})
	}
}
