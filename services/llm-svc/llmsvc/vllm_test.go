package llmsvc_test

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder"
	"github.com/larkstream/larkstream/engine/decoder/vllm/vllmtest"
	"github.com/larkstream/larkstream/services/llm-svc/llmsvc"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// TestVLLMAnswersThroughKafka: nothing is taken from the topic while the server loads its model, and all is answered afterwards.
func TestVLLMAnswersThroughKafka(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	again, loaded := make(chan struct{}), make(chan struct{})
	server := vllmtest.Start(t, vllmtest.Config{
		Model: "tiny", Context: 160, Hidden: 32, APIKey: "sesame",
		Health: func() int {
			if asked.Add(1) == 1 {
				return http.StatusServiceUnavailable
			}
			close(again) // asked once more, and after its answer no more
			<-loaded
			return http.StatusOK
		},
	})
	w := setup(t, func(c *llmsvc.Config) { c.Engine, c.VLLMURL, c.VLLMAPIKey = decoder.VLLMServer, server.URL, "sesame" })
	for i := range 4 {
		w.ask(t, i, 20, "what is the tempo", "what is the key")
	}
	<-again
	early := len(server.Requests())
	require.Zero(t, early)
	close(loaded)
	for range 8 {
		o := <-w.answers
		require.Equal(t, eventpb.State_STATE_ANSWERED, o.GetState(), o.GetError().GetMessage())
		require.Regexp(t, `^Answer [0-9a-f]{8} to 2\d rows\.$`, o.GetAnswer())
		require.Greater(t, o.GetTokens().GetPrompt(), uint32(20))
		require.EqualValues(t, 5, o.GetTokens().GetOutput())
	}
	require.Len(t, server.Requests(), 9, "the check's one, and one for each question")
}
