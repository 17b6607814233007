package stage_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/stage"
)

func TestOtherModel(t *testing.T) {
	t.Parallel()
	at := func(age time.Duration) event.Record {
		return event.Record{}.With(event.HeaderTime, time.Now().Add(-age).UTC().Format(time.RFC3339Nano))
	}
	again := stage.Later(5 * time.Second)
	require.Equal(t, again, stage.OtherModel(at(0), "nano"))
	require.Equal(t, again, stage.OtherModel(at(time.Hour), "nano"), "it may have waited for this stage, not for its model")
	require.Equal(t, again, stage.OtherModel(at(time.Minute).With(event.HeaderStage, "encoder"), "nano"))
	for _, rec := range []event.Record{at(time.Hour), {}} {
		err := stage.OtherModel(rec.With(event.HeaderStage, "encoder"), "nano")
		require.Equal(t, event.CodeModelMismatch, stage.PermanentCode(err))
		require.ErrorContains(t, err, "this one serves nano")
	}
}
