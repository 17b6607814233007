package handle

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/audio/plan"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
)

func jobRule(f *fixture, j *eventpb.Job) plan.Rule {
	return RuleOf(j.GetPlan(), j.GetSpans(), plan.HearingOf(f.bundle.Encoder))
}

func requirePermanent(t *testing.T, f *fixture, msg proto.Message, code string) {
	t.Helper()
	_, err := f.handle(t, msg)
	require.Error(t, err)
	require.Equal(t, code, stage.PermanentCode(err), "%v", err)
}
