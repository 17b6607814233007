package notes

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// asked is what a question names that an answer may be compared with.
type asked struct {
	number float64  // a tempo; 0: none
	keys   []string // "F# minor", or "F# " where the mode is not named
	metres []string
	words  map[string]bool // those that sentences ask for
}

var (
	metrePattern  = regexp.MustCompile(`\b([2-9]|12)\s?/\s?(2|4|8)\b`)
	numberPattern = regexp.MustCompile(`\b[0-9]{2,3}(?:\.[0-9]+)?`)
	wordPattern   = regexp.MustCompile(`[a-z]+`)
	keyPattern    = regexp.MustCompile(`(?i)\b([a-g])(#|b|♯|♭|\s?sharp|\s?flat)?\s+(major|minor|maj|min)\b(\s+(?:key|scale|mode|tonality)\b)?`)
)

// spellings maps a pitch class, counted from C, to the name that notes use.
var (
	spellings = []string{"C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"}
	naturals  = map[string]int{"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
)

// readQuestion finds the numbers, keys and metres in a question, and the words in it that sentences ask for.
func readQuestion(text string, sentences []Sentence) asked {
	var q asked
	for _, w := range wordPattern.FindAllString(strings.ToLower(text), -1) {
		if slices.ContainsFunc(sentences, func(s Sentence) bool { return slices.Contains(s.Words, w) }) {
			if q.words == nil {
				q.words = make(map[string]bool)
			}
			q.words[w] = true
		}
	}
	for _, m := range metrePattern.FindAllStringSubmatch(text, -1) {
		q.metres = append(q.metres, m[1]+"/"+m[2])
	}
	for _, m := range numberPattern.FindAllString(metrePattern.ReplaceAllString(text, " "), -1) {
		q.number, _ = strconv.ParseFloat(m, 64) // the pattern is a number
	}
	for _, m := range keyPattern.FindAllStringSubmatch(text, -1) {
		if m[1] == "a" && m[2] == "" && m[4] != "" {
			continue // "a major key" has an article
		}
		at := naturals[strings.ToLower(m[1])]
		switch strings.ToLower(strings.TrimSpace(m[2])) {
		case "#", "♯", "sharp":
			at++
		case "b", "♭", "flat":
			at--
		}
		mode := strings.ToLower(m[3])
		q.keys = append(q.keys, spellings[(at+12)%12]+" "+strings.TrimSuffix(mode, "or")+"or")
	}
	return q
}
