package stage_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
)

// Records of another model are put back until a roll-out must be over, and then fail.
func TestOtherModel(t *testing.T) {
	t.Parallel()
	at := func(age time.Duration) string { return time.Now().Add(-age).UTC().Format(time.RFC3339Nano) }
	old := event.Record{}.With(event.HeaderTime, at(time.Hour)).With(event.HeaderStage, "test")
	require.Empty(t, stage.PermanentCode(stage.OtherModel(old, "m")), "old, but never put back for its model")
	require.ErrorContains(t, stage.OtherModel(old, "m"), "not now")
	waited := func(age time.Duration) event.Record {
		return old.With(event.HeaderPutBackSince, at(age)).With(event.HeaderPutBacks, "120")
	}
	require.Empty(t, stage.PermanentCode(stage.OtherModel(waited(9*time.Minute), "m")))
	require.Empty(t, stage.PermanentCode(stage.OtherModel(waited(-time.Hour), "m")), "a time to come is nonsense")
	require.Empty(t, stage.PermanentCode(stage.OtherModel(old.With(event.HeaderPutBackSince, "x"), "m")))
	require.Empty(t, stage.PermanentCode(stage.OtherModel(waited(11*time.Minute).With(event.HeaderPutBacks, "20"), "m")), "by a machine whose clock was late")
	err := stage.OtherModel(waited(11*time.Minute), "lark-nano")
	require.Equal(t, event.CodeModelMismatch, stage.PermanentCode(err))
	require.ErrorContains(t, err, "lark-nano")
}

// Instances of two models share one group. All records have one key, so that they lie on partitions that belong to one
// instance: what is put back must reach the other instance nevertheless.
func TestTwoModelsSideBySide(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4)
	serve := func(model string) {
		c.start(func(_ context.Context, rec event.Record, msg proto.Message) ([]event.Record, error) {
			task := msg.(*eventpb.WindowReady).GetTask()
			if rec.Key != task.GetWindow().GetHash() {
				return nil, stage.Permanent(event.CodeInternal, fmt.Errorf("the handler sees key %s", rec.Key))
			}
			if task.GetModelDigest() != model {
				return nil, stage.OtherModel(rec, model)
			}
			return answer(rec)
		})
	}
	serve("a")
	serve("b")
	const records = 20
	for i := range uint32(records) {
		w := window("job", "key", i, 1)
		w.Task.ModelDigest = []string{"a", "b"}[i%2]
		c.publish(w)
	}
	for _, os := range c.waitOutcomes(records) {
		require.Equal(t, eventpb.State_STATE_ANSWERED, os[0].GetState(), os[0].GetError().GetMessage())
	}
	require.Empty(t, c.deadSeen())
}
