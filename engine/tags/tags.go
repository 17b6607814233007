// Package tags is the structured form of an answer: what a listener can say of a piece of music in closed vocabularies. It
// holds the vocabularies, the one strict parser, and the same form as a grammar and as a JSON schema for decoders that can be
// held to it.
//
// The form is one JSON object with all eight fields. A field is null where the audio or the model cannot tell; nothing is
// guessed to fill it.
package tags

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// DefaultQuestion is asked where tags are wanted and nothing else is: it names what a model that is held to the form has to say.
const DefaultQuestion = "Tag this music: its tempo in BPM, key, mode, metre, instruments, genre and mood, and a description in one sentence. Answer in JSON."

// Tags are one window's tags. A zero field is unknown and null in JSON.
type Tags struct {
	// TempoBPM is in beats a minute, MinTempoBPM to MaxTempoBPM.
	TempoBPM int
	// Key is the tonic, one of Keys; Mode one of Modes.
	Key, Mode string
	// Metre is a time signature, one of Metres.
	Metre string
	// Instruments are of Instruments, each once, at most MaxInstruments.
	Instruments []string
	// Genre is one of Genres.
	Genre string
	// Mood is of Moods, each once, at most MaxMoods.
	Mood []string
	// Description is free text on one line, at most MaxDescription characters.
	Description string
}

// wire is the JSON form; its order is the grammar's.
type wire struct {
	TempoBPM    *int      `json:"tempo_bpm"`
	Key         *string   `json:"key"`
	Mode        *string   `json:"mode"`
	Metre       *string   `json:"metre"`
	Instruments []*string `json:"instruments"`
	Genre       *string   `json:"genre"`
	Mood        []*string `json:"mood"`
	Description *string   `json:"description"`
}

// MarshalJSON is the compact form, always with all fields in the grammar's order.
func (t Tags) MarshalJSON() ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(wire{
		TempoBPM: known(t.TempoBPM), Key: known(t.Key), Mode: known(t.Mode), Metre: known(t.Metre), Instruments: each(t.Instruments),
		Genre: known(t.Genre), Mood: each(t.Mood), Description: known(t.Description),
	})
	if err != nil {
		return nil, fmt.Errorf("writing tags: %w", err)
	}
	return bytes.TrimSpace(buf.Bytes()), nil
}

// UnmarshalJSON reads what MarshalJSON wrote, also with the words of a later version: it asks for the form, not for the
// vocabularies. Parse checks what a model said.
func (t *Tags) UnmarshalJSON(raw []byte) error {
	var w wire
	if err := w.read(raw); err != nil {
		return fmt.Errorf("reading tags: %w", err)
	}
	*t = Tags{
		TempoBPM: value(w.TempoBPM), Key: value(w.Key), Mode: value(w.Mode), Metre: value(w.Metre), Instruments: values(w.Instruments),
		Genre: value(w.Genre), Mood: values(w.Mood), Description: value(w.Description),
	}
	return nil
}

// String is the compact JSON text, which is the answer's text.
func (t Tags) String() string {
	raw, err := t.MarshalJSON()
	if err != nil {
		return err.Error() // unreachable: numbers, texts and lists of texts always encode
	}
	return string(raw)
}

// known is nil for the zero value.
func known[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func value[T any](p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	return *p
}

func values(list []*string) []string {
	var out []string
	for _, p := range list {
		out = append(out, value(p))
	}
	return out
}

func each(list []string) []*string {
	var out []*string
	for i := range list {
		out = append(out, &list[i])
	}
	return out
}
