package schedule_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/decodertest"
	"github.com/larkstream/larkstream/engine/decoder/notes"
	"github.com/larkstream/larkstream/engine/decoder/reference"
	"github.com/larkstream/larkstream/engine/decoder/schedule"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/modeltest"
)

// noting opens a random decoder that takes notes in the few words that its tokenizer has.
func noting(t *testing.T) *schedule.Engine {
	t.Helper()
	sure := 0.01
	raw, err := json.Marshal(notes.Sheet{
		Near: 0.04, Sure: "▁is", Unsure: "▁the", MostSentences: 1,
		Slots: []notes.Slot{
			{Name: "tempo", Label: "▁tempo", Values: []string{"▁120", "▁the"}, Sure: &sure},
			{Name: "key", Label: "▁key", Values: []string{"▁F#", "▁what"}, Second: true},
			{Name: "metre", Label: "▁is", Values: []string{"▁key", "▁tempo"}},
			{Name: "drums", Label: "▁drums", Values: []string{"▁is", "▁what"}},
		},
		Sentences: []notes.Sentence{{Text: "The tempo is $tempo."}, {Text: "The key is $key."}, {Text: "The drums."}},
	})
	require.NoError(t, err)
	m := modeltest.Manifest()
	dir := modeltest.Write(t, m)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "notes.json"), raw, 0o600))
	m.LLM.Notes = "notes.json"
	require.NoError(t, m.Seal(dir))
	b, err := model.Load(dir)
	require.NoError(t, err)
	e, err := reference.Open(b, reference.Config{MaxBatch: 4})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// Notes are taken once a window, and every question of it gets a whole sentence that they allow: questions asked together as those asked alone.
func TestAnswersKeepToTheNotesOfTheirWindow(t *testing.T) {
	t.Parallel()
	e := noting(t)
	for window := range 4 {
		soft := decodertest.Soft(window, 30, 32)
		together, err := e.Answer(t.Context(), contract.Request{Soft: soft, Questions: questions(9)})
		require.NoError(t, err)
		for i, r := range together {
			require.NoError(t, r.Err)
			require.Regexp(t, `^The (tempo is (120|the)|key is (F#|what)|drums)\.$`, r.Text)
			require.Equal(t, contract.FinishStop, r.Finish)
			alone, err := e.Answer(t.Context(), contract.Request{Soft: soft, Questions: questions(9)[i : i+1]})
			require.NoError(t, err)
			require.Equal(t, alone[0].Text, r.Text)
			require.InDelta(t, alone[0].Confidence, r.Confidence, 1e-12)
			require.Equal(t, r.Text != "The drums.", r.Confidence > 0, "%q has confidence %v", r.Text, r.Confidence)
		}
	}
	require.EqualValues(t, 4*10, e.Stats().Prefixes)
	require.Zero(t, e.Stats().Used+e.Stats().Sequences+e.Stats().Promised)
}

func TestTakingNotesEndsWithItsRequest(t *testing.T) {
	t.Parallel()
	e := noting(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errGone)
	_, err := e.Answer(ctx, contract.Request{Soft: decodertest.Soft(1, 30, 32), Questions: questions(2)})
	require.ErrorIs(t, err, errGone)
	_, err = e.Answer(t.Context(), contract.Request{Soft: decodertest.Soft(1, 30, 32), Questions: questions(1)})
	require.NoError(t, err)
	require.Zero(t, e.Stats().Used+e.Stats().Sequences+e.Stats().Promised)
}
