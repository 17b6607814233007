package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/gateway/client"
)

// TestNanoTagsTheDemoTrack asks the real model for tags of the piece whose score is known.
func TestNanoTagsTheDemoTrack(t *testing.T) {
	s := start(t, options{data: t.TempDir()})
	song, err := os.ReadFile(filepath.Join(world.root, "models", "demo", "larksong.mp3"))
	require.NoError(t, err)
	job := s.submit(t, song, client.Submission{Options: client.Options{ResponseSchema: client.SchemaTags}})
	require.Equal(t, client.SchemaTags, job.ResponseSchema)
	job, outcomes := s.finish(t, job.ID)
	require.Equal(t, client.StateSucceeded, job.State)
	require.Len(t, outcomes, 1)
	o := outcomes[0]
	require.Equal(t, tags.DefaultQuestion, o.Question)
	require.NotNil(t, o.Tags)
	require.InDelta(t, 104, o.Tags.TempoBPM, 2, "the score says 104")
	require.Equal(t, "G major 4/4", o.Tags.Key+" "+o.Tags.Mode+" "+o.Tags.Metre)
	require.Subset(t, o.Tags.Instruments, []string{"piano", "guitar", "bass", "drums"})
	require.Empty(t, o.Tags.Genre, "the model cannot tell it, and says so")
	require.Empty(t, o.Tags.Mood)
	require.Contains(t, o.Tags.Description, "G major")
	parsed, err := tags.Parse([]byte(o.Answer))
	require.NoError(t, err)
	require.Equal(t, *o.Tags, parsed)
	for _, field := range []string{"tempo_bpm", "key", "mode", "metre"} {
		require.True(t, o.Support[field].Agrees, "signal processing hears the same: %s, %+v", field, o.Support)
		require.Positive(t, o.Support[field].Confidence, field)
	}

	var streamed string
	var told *tags.Tags
	require.NoError(t, s.Events(t.Context(), job.ID, "", func(ev client.Event) error {
		switch {
		case ev.Token != nil:
			streamed += ev.Token.Text
		case ev.Outcome != nil:
			told = ev.Outcome.Tags
		}
		return nil
	}))
	require.Equal(t, o.Tags, told)
	require.Contains(t, []string{"", o.Answer}, streamed, "tokens are best effort")
}

// TestAnswersAreCheckedAgainstTheAudio asks for a tempo twice: the second time the embedding is known, and the check is the same.
func TestAnswersAreCheckedAgainstTheAudio(t *testing.T) {
	s := start(t, options{data: t.TempDir()})
	song, err := os.ReadFile(filepath.Join(world.root, "models", "demo", "larksong.mp3"))
	require.NoError(t, err)
	for round := range 2 {
		_, outcomes := s.finish(t, s.submit(t, song, client.Submission{Questions: []string{"What is the tempo?", "Who wrote this song?"}}).ID)
		require.Len(t, outcomes, 2)
		for _, o := range outcomes {
			require.True(t, round == 0 || o.Cache == "hit", o.Cache)
			if o.QuestionIndex == 1 {
				require.Nil(t, o.Check, "the answer names no tempo: %s", o.Answer)
				continue
			}
			require.NotNil(t, o.Check)
			require.True(t, o.Check.Agrees, "%+v", o.Check)
			require.Equal(t, "104 BPM", o.Check.Measured)
		}
	}
}
