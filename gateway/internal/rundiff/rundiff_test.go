package rundiff_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/rundiff"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

func side(state store.ItemState, code string, outcomes ...*eventpb.Outcome) rundiff.Side {
	return rundiff.Side{Item: store.Item{ID: "a", URI: "file:///a", State: state, Code: code}, Outcomes: outcomes}
}

func succeeded(outcomes ...*eventpb.Outcome) rundiff.Side {
	return side(store.ItemSucceeded, "", outcomes...)
}

// text is an answer in free text about a window of 25 s.
func text(question string, window uint32, answer string) *eventpb.Outcome {
	start := 25 * float64(window)
	return &eventpb.Outcome{
		Question: &eventpb.Question{Text: question}, State: eventpb.State_STATE_ANSWERED, Answer: answer,
		Window: &eventpb.Window{Index: window, Span: &eventpb.Span{StartS: start, EndS: start + 25}},
	}
}

func tagged(question string, t tags.Tags) *eventpb.Outcome {
	o := text(question, 0, t.String())
	o.ResponseSchema = event.SchemaTags
	return o
}

func combined(o *eventpb.Outcome) *eventpb.Outcome {
	o.Combined = &eventpb.Combined{Rule: "vote"}
	return o
}

func failed(o *eventpb.Outcome, code string) *eventpb.Outcome {
	o.State, o.Answer, o.Error = eventpb.State_STATE_FAILED, "", &eventpb.Error{Code: code}
	return o
}

func compare(before, after rundiff.Side) rundiff.Page {
	var p rundiff.Page
	p.Compare(before, after)
	return p
}

func TestTagsAreComparedFieldByField(t *testing.T) {
	t.Parallel()
	before := tags.Tags{TempoBPM: 120, Key: "A", Mode: "minor", Instruments: []string{"piano", "bass"}, Genre: "jazz"}
	after := tags.Tags{TempoBPM: 124, Key: "A", Mode: "minor", Instruments: []string{"bass", "piano"}, Mood: []string{"calm"}}
	p := compare(succeeded(tagged("old question", before)), succeeded(tagged("new question", after)))
	require.Equal(t, client.DiffCounts{Changed: 1}, p.Counts)
	require.Len(t, p.Fields, 8)
	changed := map[string]int{}
	for _, f := range p.Fields {
		require.Equal(t, 1, f.Compared)
		changed[f.Field] = f.Changed
	}
	require.Equal(t, map[string]int{"tempo_bpm": 1, "genre": 1, "mood": 1, "key": 0, "mode": 0, "metre": 0, "instruments": 0, "description": 0}, changed)
	require.Equal(t, []client.ItemDiff{{
		ID: "a", URI: "file:///a", Kind: client.DiffChanged, StateBefore: "succeeded", StateAfter: "succeeded", Changes: []client.FieldChange{
			{Field: "tempo_bpm", Before: 120, After: 124}, {Field: "genre", Before: "jazz"}, {Field: "mood", After: []string{"calm"}},
		},
	}}, p.Items)

	p = compare(succeeded(tagged("q", before)), succeeded(tagged("q", before)))
	require.Equal(t, client.DiffCounts{Same: 1}, p.Counts)
	require.Empty(t, p.Items)
}

func TestWhatIsComparable(t *testing.T) {
	t.Parallel()
	window := 1
	long := strings.Repeat("ä", 400)
	other := text("q", 0, "no")
	other.Window.Span = &eventpb.Span{StartS: 30, EndS: 55}
	for name, tc := range map[string]struct {
		before, after rundiff.Side
		counts        client.DiffCounts
		changes       []client.FieldChange
	}{
		"windows one by one": {
			succeeded(text("q", 0, "yes"), text("q", 1, "yes")), succeeded(text("q", 1, "no"), text("q", 0, "yes")),
			client.DiffCounts{Changed: 1},
			[]client.FieldChange{{Field: "answer", Question: "q", Window: &window, Before: "yes", After: "no"}},
		},
		"the combined answer stands for its windows": {
			succeeded(text("q", 0, "yes"), combined(text("q", 1, "yes"))), succeeded(text("q", 0, "no"), combined(text("q", 1, "yes"))), client.DiffCounts{Same: 1}, nil,
		},
		"the only window and a combined answer": {
			succeeded(text("q", 0, "yes")), succeeded(text("q", 0, "yes"), combined(text("q", 1, "no"))),
			client.DiffCounts{Changed: 1},
			[]client.FieldChange{{Field: "answer", Question: "q", Before: "yes", After: "no"}},
		},
		"other windows":   {succeeded(text("q", 0, "yes")), succeeded(other), client.DiffCounts{Unlike: 1}, nil},
		"other questions": {succeeded(text("q", 0, "yes")), succeeded(text("r", 0, "no")), client.DiffCounts{Unlike: 1}, nil},
		"a partial item has lost an answer": {
			succeeded(text("q", 0, "yes"), text("r", 0, "yes")), side(store.ItemPartial, event.CodeEngineError, text("q", 0, "yes"), failed(text("r", 0, ""), event.CodeEngineError)),
			client.DiffCounts{Changed: 1},
			[]client.FieldChange{{Field: "answer", Question: "r", Before: "yes", Code: event.CodeEngineError}},
		},
		"a difference far behind": {
			succeeded(text("q", 0, long+"x")), succeeded(text("q", 0, long+"y")),
			client.DiffCounts{Changed: 1},
			[]client.FieldChange{{Field: "answer", Question: "q", Before: long[:500], After: long[:500]}},
		},
		"answers that were deleted": {succeeded(), succeeded(text("q", 0, "yes")), client.DiffCounts{Gone: 1}, nil},
		"not ended":                 {side(store.ItemRunning, ""), succeeded(text("q", 0, "yes")), client.DiffCounts{Open: 1}, nil},
		"skipped as unchanged":      {succeeded(text("q", 0, "yes")), side(store.ItemSkipped, "unchanged"), client.DiffCounts{Skipped: 1}, nil},
		"answered in neither":       {side(store.ItemFailed, "x"), side(store.ItemCancelled, "y"), client.DiffCounts{Failed: 1}, nil},
	} {
		p := compare(tc.before, tc.after)
		require.Equal(t, tc.counts, p.Counts, name)
		require.Len(t, p.Items, p.Counts.Differing(), name)
		if tc.changes != nil {
			require.Equal(t, tc.changes, p.Items[0].Changes, name)
		}
	}
}

func TestItemsThatOneRunHasNotAnswered(t *testing.T) {
	t.Parallel()
	var p rundiff.Page
	changed := succeeded(text("q", 0, "yes"))
	changed.Item.SHA256 = "01"
	gone := side(store.ItemFailed, event.CodeSourceMissing)
	gone.Item.SHA256 = "02"
	p.Compare(changed, gone)
	p.Compare(gone, changed)
	p.OnlyBefore(store.Item{ID: "b", State: store.ItemFailed})
	p.OnlyAfter(store.Item{ID: "c", State: store.ItemSucceeded})
	require.Equal(t, client.DiffCounts{Lost: 1, Gained: 1, OnlyBefore: 1, OnlyAfter: 1}, p.Counts)
	require.Equal(t, []client.ItemDiff{
		{ID: "a", URI: "file:///a", Kind: client.DiffLost, StateBefore: "succeeded", StateAfter: "failed", Code: event.CodeSourceMissing, AudioChanged: true},
		{ID: "a", URI: "file:///a", Kind: client.DiffGained, StateBefore: "failed", StateAfter: "succeeded", Code: event.CodeSourceMissing, AudioChanged: true},
		{ID: "b", Kind: client.DiffOnlyBefore, StateBefore: "failed"},
		{ID: "c", Kind: client.DiffOnlyAfter, StateAfter: "succeeded"},
	}, p.Items)
}

// TestAnItemTellsABoundedNumberOfChanges, and counts a field once however many windows differ.
func TestAnItemTellsABoundedNumberOfChanges(t *testing.T) {
	t.Parallel()
	var before, after []*eventpb.Outcome
	for w := range uint32(100) {
		before, after = append(before, text("q", w, "yes")), append(after, text("q", w, "no"))
	}
	p := compare(succeeded(before...), succeeded(after...))
	require.Len(t, p.Items[0].Changes, 32)
	require.Equal(t, []client.FieldDiff{{Field: "answer", Question: "q", Compared: 1, Changed: 1}}, p.Fields)
}
