package eval

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadTempo(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		"The tempo is about 120 BPM.": "120", "99.5bpm": "99.5", "Around 87 beats per minute, in 4/4.": "87", "120": "120", "It is roughly 128.": "128",
		"":                        "",
		"fast":                    "",
		"120 BPM or 60 BPM":       "",
		"between 110 and 120":     "",
		"It is 4/4":               "",
		"The tempo is about 5.":   "",
		"209 about 206 BPM, or 3": "206",
		"99999999999999999 BPM":   "",
	} {
		require.Equal(t, want, readTempo(answer), answer)
	}
}

func TestReadKey(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		"The key is F# minor.": "F# minor", "Db major": "Db major", "C# major": "Db major", "It is in A flat major, I think": "Ab major", "G♯ minor": "Ab minor",
		"A minor or C major": "", "H minor": "", "D dorian": "", "minor": "", "in a minor key": "", "E": "",
	} {
		require.Equal(t, want, readKey(answer), answer)
	}
	for label, want := range map[string]string{
		"Eb minor": "Eb minor", "d# minor": "Eb minor", "A♭ maj": "Ab major", "c:min": "C minor", "Gb Major": "F# major", " b minor ": "B minor",
		"Ebm": "", "C": "", "C dorian": "", "C major or A minor": "", "major": "", "": "",
	} {
		require.Equal(t, want, parseKeyLabel(label), label)
	}
}

func TestReadMetreAndDrums(t *testing.T) {
	t.Parallel()
	require.Equal(t, "3/4", readMetre("The metre is 3/4."))
	require.Empty(t, readMetre("3/4 or 4/4"))
	require.Empty(t, readMetre("13/4"))
	for answer, want := range map[string]string{
		"Yes, there are drums.": "yes", "No, I hear no drums.": "no", "no": "no", "**Yes**": "yes", "I hear a drum kit and hi-hats.": "yes", "There are no drums here.": "no",
		"The song doesn't have any percussion.": "no", "drums, then no drums": "", "": "", "Nothing of the kind": "", "Nobody plays": "",
	} {
		require.Equal(t, want, readDrums(answer), answer)
	}
}

func TestReadInstruments(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		"I hear strings, bass, piano and drums.":   "bass,piano,strings",
		"Two acoustic guitars and a bass drum":     "guitar",
		"violins with a French horn":               "brass,strings",
		"There is a piano, but no guitar or bass.": "piano",
		"No drums or bass, but a piano":            "piano",
		"without vocals; a bass clarinet leads":    "reeds",
		"I hear basslines.":                        "",
		"":                                         "",
		"An upbeat song at 120 beats per minute that string-pullers": "strings",
	} {
		require.Equal(t, want, readInstruments(answer), answer)
	}
	require.Equal(t, "theremin", FamilyOf(" Theremin "))
	require.Equal(t, "drums", FamilyOf("Drum Set"))
	require.True(t, IsInstrument("violins"))
	require.False(t, IsInstrument("theremin"))
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for _, a := range []string{
		"I can't tell that from the audio.", "I cannot determine who sings.", "It is not possible to say.", "I don't know", "I’m unable to identify the artist.", "I hear no music here.",
		"That is not something the audio tells.",
	} {
		require.True(t, Refuses(a), a)
	}
	for _, a := range []string{"The key is A minor.", "You can tell that it is fast.", "", "I can hear piano."} {
		require.False(t, Refuses(a), a)
	}
}

func TestReadChoice(t *testing.T) {
	t.Parallel()
	options := []string{"A slow waltz", "Rock", "Punk rock", "Jazz"}
	for answer, want := range map[string]string{
		"B": "1", "(C)": "2", "D) Jazz": "3", "The correct answer is: (A) A slow waltz": "0", "The answer is (B).": "1", "It is punk rock, surely.": "2", "jazz": "3",
		"A slow piece":  "",
		"(A) or (B)":    "",
		"rock and jazz": "",
		"E":             "",
		"(H)":           "",
		"":              "",
		"Blues":         "",
		"jazzy":         "",
	} {
		require.Equal(t, want, readChoice(answer, options), answer)
	}
}

func TestReadGenre(t *testing.T) {
	t.Parallel()
	genres := []string{"hiphop", "rock", "Singer/Songwriter", "pop", "synth pop"}
	for answer, want := range map[string]string{
		"This is hip-hop.": "hiphop", "Hip hop": "hiphop", "ROCK!": "rock", "a singer-songwriter ballad": "singer songwriter", "synth pop of the eighties": "synth pop",
		"rock or pop": "", "popular": "", "": "", "techno": "",
	} {
		require.Equal(t, want, readGenre(answer, genres), answer)
	}
}

// FuzzReaders holds the readers to their vocabularies, whatever a model says.
func FuzzReaders(f *testing.F) {
	f.Add("The tempo is about 120 BPM, in F# minor, 3/4, with no drums (A).")
	f.Add("\xff no ♭ 0/0 1e999 bpm")
	f.Fuzz(func(t *testing.T, answer string) {
		if key := readKey(answer); key != "" {
			require.Equal(t, key, parseKeyLabel(key))
		}
		if bpm := readTempo(answer); bpm != "" {
			require.Equal(t, bpm, readTempo(bpm))
		}
		require.Contains(t, []string{"", "yes", "no"}, readDrums(answer))
		for _, family := range list(readInstruments(answer)) {
			require.True(t, IsInstrument(family), family)
		}
		require.Contains(t, []string{"", "0", "1"}, readChoice(answer, []string{"one", "two"}))
		require.Contains(t, []string{"", "rock", "pop"}, readGenre(answer, []string{"Rock", "Pop"}))
	})
}
