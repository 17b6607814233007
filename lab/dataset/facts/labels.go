package facts

// Labels are what is true of a clip. A zero field is unknown.
type Labels struct {
	TempoBPM float64 `json:"tempo_bpm,omitempty"`
	// Key as "Eb minor", Metre as "3/4".
	Key   string `json:"key,omitempty"`
	Metre string `json:"metre,omitempty"`
	// Instruments that sound; nil = not labelled. Complete says that there are no others.
	Instruments []string `json:"instruments,omitempty"`
	Complete    bool     `json:"instruments_complete,omitempty"`
	Drums       *bool    `json:"drums,omitempty"`
	Genres      []string `json:"genres,omitempty"`
	Moods       []string `json:"moods,omitempty"`
	Tags        []string `json:"tags,omitempty"`
	// Captions were written by people.
	Captions    []string `json:"captions,omitempty"`
	Title       string   `json:"title,omitempty"`
	Artist      string   `json:"artist,omitempty"`
	Album       string   `json:"album,omitempty"`
	Composer    string   `json:"composer,omitempty"`
	Composition string   `json:"composition,omitempty"`
	Movement    string   `json:"movement,omitempty"`
	Ensemble    string   `json:"ensemble,omitempty"`
	// Chords and Notes have times in seconds from the start of the clip.
	Chords []Chord           `json:"chords,omitempty"`
	Notes  map[string][]Note `json:"notes,omitempty"`
}

// Chord is a chord and its time in seconds from the start of the clip, in LLark's form: C:maj, F#:min, N = none.
type Chord struct {
	Start float64 `json:"start_time"`
	End   float64 `json:"end_time"`
	Chord string  `json:"chord"`
}

// Beat of a clip in LLark's form: Number counts the beats of the bar from 1, which is the downbeat.
type Beat struct {
	Time   float64 `json:"time"`
	Number int     `json:"beat_number"`
}

// Note of an instrument, in seconds from the start of the clip; Pitch is a MIDI number.
type Note struct {
	Start float64 `json:"start"`
	End   float64 `json:"end"`
	Pitch int     `json:"pitch"`
}
