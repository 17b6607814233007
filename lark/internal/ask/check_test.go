package ask

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/gateway/client"
)

// TestDisagreementsAreTold: a reader sees what signal processing measures where it differs from the answer, and a program sees every check.
func TestDisagreementsAreTold(t *testing.T) {
	t.Parallel()
	job := client.Job{Questions: []client.Question{{Index: 0, Text: "Key?"}, {Index: 1, Text: "Tempo?"}}, Windows: []client.Window{{EndS: 25}}}
	outcomes := []client.Outcome{
		{QuestionIndex: 0, State: client.OutcomeAnswered, Answer: "E minor", Check: &client.Check{Agrees: true, Measured: "E minor", Confidence: 0.9}},
		{QuestionIndex: 1, State: client.OutcomeAnswered, Answer: "60 BPM", Check: &client.Check{Measured: "121 BPM", Confidence: 0.75}},
	}
	var out bytes.Buffer
	Print(&out, job, outcomes)
	require.Contains(t, out.String(), "60 BPM\n  (signal processing measures 121 BPM, confidence 0.75)\n")
	require.NotContains(t, out.String(), "measures E minor")

	out.Reset()
	Print(&out, job, []client.Outcome{{
		State: client.OutcomeAnswered, Tags: &tags.Tags{TempoBPM: 60, Key: "E"},
		Support: map[string]client.Check{"tempo_bpm": {Measured: "121 BPM", Confidence: 0.75}, "key": {Agrees: true, Measured: "E", Confidence: 0.5}},
	}})
	require.Contains(t, out.String(), "tempo        60 BPM (signal processing measures 121 BPM, confidence 0.75)\n")
	require.Contains(t, out.String(), "key          E\n")

	l := newLines(&out)
	out.Reset()
	l.outcome(outcomes[1])
	require.Contains(t, out.String(), `"check":{"agrees":false,"measured":"121 BPM","confidence":0.75}`)
}
