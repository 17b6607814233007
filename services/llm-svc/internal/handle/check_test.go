package handle

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage/stagetest"
)

var heard = &eventpb.Measured{TempoBpm: 121.2, TempoConfidence: 0.9, Key: "E minor", KeyConfidence: 0.6, Content: "music", ContentConfidence: 1}

// TestAnswersAreChecked: an answer that names a tempo or a key says whether the window was measured to have it, others say nothing.
func TestAnswersAreChecked(t *testing.T) {
	t.Parallel()
	s := &tries{texts: [][]string{{"The key is E minor.", "The tempo is about 60 BPM."}, {"I hear piano.", "Nobody knows."}, {"The key is E minor.", "120 BPM"}}}
	f := setup(t, s.engine())
	ask := func(measured *eventpb.Measured) []*eventpb.Outcome {
		msg := f.prompt()
		msg.Task.Window.Measured = measured
		recs, err := stagetest.Handle(t.Context(), f.run, record(t, msg))
		require.NoError(t, err)
		var out []*eventpb.Outcome
		for _, rec := range recs {
			o, err := event.DecodeAs[*eventpb.Outcome](rec)
			require.NoError(t, err)
			require.Empty(t, o.GetSupport())
			out = append(out, o)
		}
		return out
	}
	out := ask(heard)
	require.True(t, proto.Equal(&eventpb.Check{Agrees: true, Measured: "E minor", Confidence: 0.6}, out[0].GetCheck()))
	require.True(t, proto.Equal(&eventpb.Check{Agrees: false, Measured: "121 BPM", Confidence: 0.9}, out[1].GetCheck()))
	for _, o := range append(ask(heard), ask(nil)...) {
		require.Nil(t, o.GetCheck())
	}
}

func TestTagsAreSupported(t *testing.T) {
	t.Parallel()
	answer := tags.Tags{TempoBPM: 120, Key: "E", Mode: "major", Metre: "4/4"}.String()
	s := &tries{texts: [][]string{{answer, answer}}}
	f := setup(t, s.engine())
	msg := f.tagged()
	msg.Task.Window.Measured = heard
	o := f.outcomes(t, msg)[0]
	require.Nil(t, o.GetCheck())
	require.Len(t, o.GetSupport(), 3, "the metre was not measured")
	require.True(t, o.GetSupport()["tempo_bpm"].GetAgrees())
	require.True(t, o.GetSupport()["key"].GetAgrees())
	require.False(t, o.GetSupport()["mode"].GetAgrees())
	require.Equal(t, "minor", o.GetSupport()["mode"].GetMeasured())
}
