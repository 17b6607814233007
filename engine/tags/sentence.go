package tags

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// What a sentence says, for models that answer in sentences. A sentence that names nothing of the vocabulary, or several
// things where there can be one, says nothing.

var (
	tempoPattern   = regexp.MustCompile(`(?i)([0-9]+(?:\.[0-9]+)?) *(?:bpm\b|beats per minute)`)
	keyPattern     = regexp.MustCompile(`\b([A-G])(b|#|♭|♯|[ -]flat|[ -]sharp)? (?i:(` + strings.Join(Modes(), "|") + `))\b`)
	metrePattern   = regexp.MustCompile(`\b[0-9]{1,2}/[0-9]{1,2}\b`)
	refusalPattern = regexp.MustCompile(`(?i)\bcan('|’)?(no)?t (tell|say)\b`)

	instrumentPattern = wordPattern(Instruments())
	genrePattern      = wordPattern(Genres())
	moodPattern       = wordPattern(Moods())
)

// tonics maps a letter and its accidental to the vocabulary's spelling.
var tonics = map[string]string{
	"C": "C", "B#": "C", "C#": "Db", "Db": "Db", "D": "D", "D#": "Eb", "Eb": "Eb", "E": "E", "Fb": "E", "F": "F", "E#": "F", "F#": "F#",
	"Gb": "F#", "G": "G", "G#": "Ab", "Ab": "Ab", "A": "A", "A#": "Bb", "Bb": "Bb", "B": "B", "Cb": "B",
}

// wordPattern finds the words of a vocabulary, the longest where several begin, with the negation before it.
func wordPattern(words []string) *regexp.Regexp {
	quoted := make([]string, 0, len(words))
	for _, w := range words {
		quoted = append(quoted, regexp.QuoteMeta(w))
	}
	slices.SortFunc(quoted, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return regexp.MustCompile(`(?i)(\b(?:no|not|without)(?: any| an?)? )?\b(` + strings.Join(quoted, "|") + `)\b`)
}

// Refuses tells whether a sentence says that something cannot be told.
func Refuses(sentence string) bool { return refusalPattern.MatchString(sentence) }

// TempoIn is the one number of beats a minute that a sentence names; 0 = none or several.
func TempoIn(sentence string) float64 {
	var found []string
	for _, m := range tempoPattern.FindAllStringSubmatch(sentence, -1) {
		found = append(found, m[1])
	}
	bpm, err := strconv.ParseFloat(only(found), 64)
	if err != nil {
		return 0
	}
	return bpm
}

// KeyIn is the one key that a sentence names, in the spelling of Keys; empty = none or several.
func KeyIn(sentence string) (key, mode string) {
	sentence, _, _ = strings.Cut(sentence, ", or else ") // what comes behind is a second guess
	accidentals := strings.NewReplacer("♭", "b", "♯", "#", " flat", "b", "-flat", "b", " sharp", "#", "-sharp", "#")
	var found []string
	for _, m := range keyPattern.FindAllStringSubmatch(sentence, -1) {
		found = append(found, tonics[m[1]+accidentals.Replace(m[2])]+" "+strings.ToLower(m[3]))
	}
	key, mode, _ = strings.Cut(only(found), " ")
	return key, mode
}

// MetreIn is the one time signature of Metres that a sentence names; "" = none or several.
func MetreIn(sentence string) string {
	found := metrePattern.FindAllString(sentence, -1)
	return only(slices.DeleteFunc(found, func(m string) bool { return !slices.Contains(Metres(), m) }))
}

// InstrumentsIn are the instruments of Instruments that a sentence says are there, each once.
func InstrumentsIn(sentence string) []string { return affirmed(instrumentPattern, sentence) }

// GenreIn is the one genre of Genres that a sentence names; "" = none or several.
func GenreIn(sentence string) string { return only(affirmed(genrePattern, sentence)) }

// MoodsIn are the moods of Moods that a sentence names, each once.
func MoodsIn(sentence string) []string { return affirmed(moodPattern, sentence) }

// affirmed are the words found, in lower case and each once, but for those with a "no" before them.
func affirmed(pattern *regexp.Regexp, sentence string) []string {
	var out []string
	for _, m := range pattern.FindAllStringSubmatch(sentence, -1) {
		if w := strings.ToLower(m[2]); m[1] == "" && !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return out
}

// only is the one value of a list, however often it stands there; "" where there is none or another.
func only(list []string) string {
	if len(list) == 0 || slices.ContainsFunc(list, func(v string) bool { return v != list[0] }) {
		return ""
	}
	return list[0]
}
