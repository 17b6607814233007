package tags_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/tags"
)

func TestTempoIn(t *testing.T) {
	t.Parallel()
	for sentence, want := range map[string]float64{
		"The tempo is about 120 BPM.": 120, "104.5bpm": 104.5, "It runs at 96 beats per minute.": 96, "90 BPM, yes, 90 BPM": 90,
		"I can't tell that from the audio.": 0, "Between 90 BPM and 120 BPM.": 0, "120": 0, "It is from 1987.": 0, "": 0,
	} {
		require.InDelta(t, want, tags.TempoIn(sentence), 0, sentence)
	}
}

func TestKeyIn(t *testing.T) {
	t.Parallel()
	for sentence, want := range map[string]string{
		"The key is F# minor.": "F# minor", "It is in C# major.": "Db major", "In B-flat Minor": "Bb minor", "A sharp dorian": "Bb dorian", "G♭ major": "F# major",
		"G major. Yes, G major.": "G major", "I'm not sure of the key; it may be A minor, or else C major.": "A minor", "G major or E minor": " ", "It is a minor matter.": " ", "H major": " ", "I can't tell.": " ", "": " ",
	} {
		key, mode := tags.KeyIn(sentence)
		require.Equal(t, want, key+" "+mode, sentence)
	}
}

func TestMetreIn(t *testing.T) {
	t.Parallel()
	for sentence, want := range map[string]string{
		"The metre is 3/4.": "3/4", "12/8 time": "12/8", "4/4, that is 4/4": "4/4", "3/4 or 4/4": "", "on 24/7": "", "1/22/2024": "", "": "",
	} {
		require.Equal(t, want, tags.MetreIn(sentence), sentence)
	}
}

func TestInstrumentsIn(t *testing.T) {
	t.Parallel()
	for sentence, want := range map[string][]string{
		"I hear piano, guitar, bass and drums.":                      {"piano", "guitar", "bass", "drums"},
		"Electric guitar and double bass, no drums, Electric Guitar": {"electric guitar", "double bass"},
		"A piece with piano and no drums, without any strings.":      {"piano"},
		"I hear no music here.":                                      nil,
		"The bassist is unknown.":                                    nil,
	} {
		require.Equal(t, want, tags.InstrumentsIn(sentence), sentence)
	}
}

func TestGenreAndMoodsIn(t *testing.T) {
	t.Parallel()
	require.Equal(t, "hip hop", tags.GenreIn("This is Hip Hop."))
	require.Equal(t, "drum and bass", tags.GenreIn("Drum and bass, I think"))
	require.Equal(t, "r&b", tags.GenreIn("Modern R&B."))
	require.Empty(t, tags.GenreIn("Rock or jazz."))
	require.Empty(t, tags.GenreIn("I can't tell that from the audio."))
	require.Equal(t, []string{"calm", "sad"}, tags.MoodsIn("Calm and sad, not happy."))
	require.Empty(t, tags.MoodsIn("I can't tell that from the audio."))
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for sentence, want := range map[string]bool{
		"I can't tell that from the audio.": true, "One cannot tell.": true, "I can’t say": true, "The key is G major.": false, "": false,
	} {
		require.Equal(t, want, tags.Refuses(sentence), sentence)
	}
}
