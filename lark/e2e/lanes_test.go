package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/up"
	"github.com/larkstream/larkstream/shared/event"
)

// catalogueWindows is a backlog that the slow test engines need many seconds for.
const catalogueWindows = 250

// TestAPersonPassesTheCatalogue: with all stages busy with bulk windows, a question about a new track and one about a known track are
// answered long before the windows that were there first, and the catalogue is done all the same.
func TestAPersonPassesTheCatalogue(t *testing.T) {
	s := tester(t)
	catalogue := s.submit(t, melody(seedOf(t), catalogueWindows), client.Submission{
		Questions: []string{"What is the tempo?"}, Plan: client.PlanExplicit, Spans: spans(catalogueWindows),
		Options: client.Options{Lane: event.LaneBulk},
	})
	require.Equal(t, event.LaneBulk, catalogue.Lane)
	s.reach(t, catalogue.ID, 5)
	before := s.ended(t, catalogue.ID)

	fresh := s.submit(t, melody(seedOf(t), 2), client.Submission{Questions: []string{"Any drums?"}})
	_, outcomes := s.finish(t, fresh.ID)
	require.Equal(t, client.OutcomeAnswered, outcomes[0].State)
	known, err := s.Submit(t.Context(), client.Submission{Questions: []string{"Any voice?"}, AudioRef: fresh.Audio.SHA256}, nil, client.SubmitOptions{})
	require.NoError(t, err)
	_, outcomes = s.finish(t, known.ID)
	require.Equal(t, client.OutcomeAnswered, outcomes[0].State)
	require.Equal(t, event.CacheHit, outcomes[0].Cache)

	after := s.ended(t, catalogue.ID)
	require.Less(t, after-before, (catalogueWindows-before)/2, "of %d windows that waited, %d went before the two questions", catalogueWindows-before, after-before)
	require.Positive(t, s.metric(t, up.Encoder, "lark_stage_records_total", `lark_lane="bulk"`, `lark_topic="lark.windows.bulk.v1"`))

	done, _ := s.finish(t, catalogue.ID)
	require.Equal(t, client.StateSucceeded, done.State)
	require.Equal(t, catalogueWindows, done.Counts.Answered)
	require.Zero(t, s.metric(t, up.Gateway, "lark_ledger_imbalance"))
}
