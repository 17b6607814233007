package handle

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/mir/check"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// TestWindowsAreMeasuredOnce: what was measured goes on with each window, is kept with the plan, and is not in the job's plan on the log.
func TestWindowsAreMeasuredOnce(t *testing.T) {
	t.Parallel()
	f, runs := setup(t), 0
	j := job(f.put(t, wav(60)), eventpb.PlanMode_PLAN_MODE_ALL)
	out, err := f.handle(t, j)
	require.NoError(t, err)
	require.Nil(t, out[1].(*eventpb.WindowReady).GetTask().GetWindow().GetMeasured(), "measuring is off")

	f.Measure = func(pcm []int16) check.Measured {
		runs++
		return check.Measured{TempoBPM: float64(60 + len(pcm)%7 + runs), TempoConfidence: 0.5, Key: "Eb minor", KeyConfidence: 0.25, Metre: "3/4", Content: "music"}
	}
	for range 2 {
		out, err = f.handle(t, j)
		require.NoError(t, err)
		require.Len(t, out, 4)
		require.Equal(t, 3, runs, "once a window, and not again for the same plan")
		for i, msg := range out[1:] {
			m := msg.(*eventpb.WindowReady).GetTask().GetWindow().GetMeasured()
			require.InDelta(t, 61+i, m.GetTempoBpm(), 6)
			require.Equal(t, "Eb minor", m.GetKey())
		}
		for _, w := range out[0].(*eventpb.JobPlan).GetWindows() {
			require.Nil(t, w.GetMeasured())
		}
	}
	lost := out[2].(*eventpb.WindowReady)
	require.NoError(t, f.store.Delete(t.Context(), lost.GetTask().GetWindow().GetBlobKey()))
	again, err := f.handle(t, lost)
	require.NoError(t, err)
	require.Equal(t, 3, runs, "a window that is cut again keeps what was measured")
	require.True(t, proto.Equal(lost.GetTask().GetWindow().GetMeasured(), again[0].(*eventpb.WindowReady).GetTask().GetWindow().GetMeasured()))
}

// TestAJobOfThousandsOfWindowsIsMeasuredInPart bounds the time that one job takes.
func TestAJobOfThousandsOfWindowsIsMeasuredInPart(t *testing.T) {
	t.Parallel()
	f, runs := setup(t), 0
	f.Measure = func([]int16) check.Measured {
		runs++
		return check.Measured{Content: "music"}
	}
	f.Limits = Limits{Answers: 4096, Expansion: 1 << 20, FreeBytes: 1 << 40}
	var spans []*eventpb.Span
	for i := range maxMeasured + 10 {
		spans = append(spans, &eventpb.Span{StartS: float64(i) / 1000, EndS: float64(i)/1000 + 1})
	}
	out, err := f.handle(t, job(f.put(t, wav(3)), eventpb.PlanMode_PLAN_MODE_EXPLICIT, spans...))
	require.NoError(t, err)
	require.Len(t, out, len(spans)+1)
	require.Equal(t, maxMeasured, runs)
	require.NotNil(t, out[maxMeasured].(*eventpb.WindowReady).GetTask().GetWindow().GetMeasured())
	require.Nil(t, out[maxMeasured+1].(*eventpb.WindowReady).GetTask().GetWindow().GetMeasured())
}
