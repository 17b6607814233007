package tags

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxBytes bounds the text that Parse reads: several times the longest compact form.
const MaxBytes = 8 << 10

// Parse reads one JSON object of tags and nothing else. Every field must be there once, under its exact name, with a value of
// its vocabulary and bounds, or null. Words named twice count once. In the description white space counts as one space, and
// U+FFFD, which decoders write for bytes that are no text, goes. An empty list or a blank description says as little as null.
func Parse(raw []byte) (Tags, error) {
	if len(raw) > MaxBytes {
		return Tags{}, fmt.Errorf("reading tags: %d bytes, limit %d", len(raw), MaxBytes)
	}
	if !utf8.Valid(raw) {
		return Tags{}, errors.New("reading tags: the text is not valid UTF-8")
	}
	var w wire
	if err := w.read(raw); err != nil {
		return Tags{}, fmt.Errorf("reading tags: %w", err)
	}
	t, err := w.check()
	if err != nil {
		return Tags{}, fmt.Errorf("checking tags: %w", err)
	}
	return t, nil
}

// read is stricter than json.Unmarshal, which takes names in any case, names that come twice and names that are missing.
func (w *wire) read(raw []byte) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	open, err := dec.Token()
	if err != nil {
		return notJSON(err)
	}
	if open != json.Delim('{') {
		return errors.New("it is not a JSON object")
	}
	fields := w.fields()
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return notJSON(err)
		}
		name, _ := token.(string)
		target, ok := fields[name]
		if !ok {
			return fmt.Errorf("field %.40q is not known or comes twice", name)
		}
		delete(fields, name)
		if err := dec.Decode(target); err != nil {
			return fmt.Errorf("field %s: %w", name, notJSON(err))
		}
	}
	if _, err := dec.Token(); err != nil {
		return notJSON(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is text after the object")
	}
	for _, name := range names() {
		if _, missing := fields[name]; missing {
			return fmt.Errorf("field %s is missing", name)
		}
	}
	return nil
}

// fields maps each name to where its value goes.
func (w *wire) fields() map[string]any {
	v := reflect.ValueOf(w).Elem()
	out := make(map[string]any, v.NumField())
	for i, name := range names() {
		out[name] = v.Field(i).Addr().Interface()
	}
	return out
}

// names are the fields' names in the grammar's order.
func names() []string {
	t := reflect.TypeFor[wire]()
	out := make([]string, t.NumField())
	for i := range out {
		out[i] = t.Field(i).Tag.Get("json")
	}
	return out
}

// notJSON says what is wrong without repeating the text, which may be anything.
func notJSON(err error) error {
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind):
		return fmt.Errorf("%.40s where %s or null belongs", kind.Value, kind.Type) // of a number, Value has all digits
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON ends early")
	}
	return errors.New("it is not JSON")
}

func (w *wire) check() (Tags, error) {
	var t Tags
	var faults [8]error
	t.TempoBPM, faults[0] = tempo(w.TempoBPM)
	t.Key, faults[1] = word("key", w.Key, Keys())
	t.Mode, faults[2] = word("mode", w.Mode, Modes())
	t.Metre, faults[3] = word("metre", w.Metre, Metres())
	t.Instruments, faults[4] = list("instruments", w.Instruments, Instruments(), MaxInstruments)
	t.Genre, faults[5] = word("genre", w.Genre, Genres())
	t.Mood, faults[6] = list("mood", w.Mood, Moods(), MaxMoods)
	t.Description, faults[7] = line(w.Description)
	for _, err := range faults {
		if err != nil {
			return Tags{}, err
		}
	}
	return t, nil
}

func tempo(v *int) (int, error) {
	if v == nil {
		return 0, nil
	}
	if *v < MinTempoBPM || *v > MaxTempoBPM {
		return 0, fmt.Errorf("tempo_bpm %d is not within %d to %d", *v, MinTempoBPM, MaxTempoBPM)
	}
	return *v, nil
}

func word(field string, v *string, vocabulary []string) (string, error) {
	if v == nil {
		return "", nil
	}
	if !slices.Contains(vocabulary, *v) {
		return "", fmt.Errorf("%s %.40q is not in the vocabulary", field, *v)
	}
	return *v, nil
}

func list(field string, values []*string, vocabulary []string, limit int) ([]string, error) {
	if len(values) > limit {
		return nil, fmt.Errorf("%s has %d values, limit %d", field, len(values), limit)
	}
	var out []string
	for _, v := range values {
		if v == nil {
			return nil, fmt.Errorf("%s holds null", field)
		}
		w, err := word(field, v, vocabulary)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return out, nil
}

func line(v *string) (string, error) {
	if v == nil {
		return "", nil
	}
	text := strings.ReplaceAll(*v, string(utf8.RuneError), "")
	if n := utf8.RuneCountInString(text); n > MaxDescription {
		return "", fmt.Errorf("description has %d characters, limit %d", n, MaxDescription)
	}
	text = strings.Join(strings.Fields(text), " ")
	if strings.ContainsFunc(text, unicode.IsControl) {
		return "", errors.New("description holds a control character")
	}
	return text, nil
}
