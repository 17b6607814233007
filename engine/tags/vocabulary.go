package tags

// Version counts the changes of the vocabularies and of the form. Answers of another version may hold other words.
const Version = 1

// Bounds of a Tags value, which Parse, Grammar and JSONSchema all keep.
const (
	MinTempoBPM    = 20
	MaxTempoBPM    = 300
	MaxInstruments = 16
	MaxMoods       = 4
	// MaxDescription is in characters (code points).
	MaxDescription = 240
)

// Keys are the tonics, from C upwards: one spelling for each of the twelve pitch classes, as lark-nano's labels have them.
func Keys() []string {
	return []string{"C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"}
}

// Modes are major, minor (natural, harmonic and melodic alike) and the other church modes.
func Modes() []string {
	return []string{"major", "minor", "dorian", "phrygian", "lydian", "mixolydian", "locrian"}
}

// Metres are time signatures.
func Metres() []string {
	return []string{"4/4", "3/4", "2/4", "2/2", "5/4", "6/4", "7/4", "3/8", "5/8", "6/8", "7/8", "9/8", "12/8"}
}

// Instruments are lark-nano's families (the General MIDI groups) and drums first, then the single instruments that the
// public tag sets MTG-Jamendo and OpenMIC-2018 name. A family stands for its members where they cannot be told apart.
func Instruments() []string {
	return []string{
		"piano", "mallets", "organ", "guitar", "bass", "strings", "choir", "brass", "reeds", "flutes", "synth", "folk", "drums",
		"accordion", "acoustic guitar", "banjo", "bassoon", "bells", "cello", "clarinet", "double bass", "drum machine", "electric guitar",
		"electric piano", "french horn", "harmonica", "harp", "harpsichord", "mandolin", "oboe", "orchestra", "percussion", "sampler",
		"saxophone", "sitar", "timpani", "trombone", "trumpet", "tuba", "ukulele", "viola", "violin", "voice",
	}
}

// Genres are the broad styles that GTZAN, FMA and MTG-Jamendo share.
func Genres() []string {
	return []string{
		"ambient", "blues", "bossa nova", "children's", "classical", "country", "disco", "drum and bass", "dub", "dubstep", "easy listening",
		"electronic", "experimental", "folk", "funk", "gospel", "hip hop", "house", "indie", "industrial", "jazz", "latin", "march", "metal",
		"new age", "pop", "punk", "r&b", "ragtime", "reggae", "rock", "singer-songwriter", "ska", "soul", "soundtrack", "swing", "techno",
		"trance", "waltz", "world",
	}
}

// Moods are adjectives after the mood and theme tags of MTG-Jamendo and the clusters of MIREX's mood task.
func Moods() []string {
	return []string{
		"aggressive", "bittersweet", "calm", "cheerful", "dark", "dramatic", "dreamy", "energetic", "epic", "gentle", "happy", "heavy", "hopeful",
		"humorous", "intense", "melancholic", "mysterious", "nostalgic", "passionate", "peaceful", "playful", "relaxed", "romantic", "sad",
		"serious", "suspenseful", "tender", "tense", "triumphant", "uplifting",
	}
}
