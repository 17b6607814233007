package check

import (
	"regexp"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/lab/eval"
)

// whether finds questions that ask whether something is so.
var whether = regexp.MustCompile(`(?i)^\W*(is|are|was|were|does|do|did|can|could|has|have|would|will|tell me whether|which of|what is the difference)\b`)

// instruments checks instruments: one that is said to be there is in the labels, by its own name or its family's; one that is said not to be there
// is known not to be.
func (k *Known) instruments(text string) Fault {
	for _, m := range eval.Mentions(text) {
		switch {
		case !m.Denied && k.plays(m):
		case m.Denied && k.silent(m.Family):
		default:
			return Fault{Instrument, m.Text}
		}
	}
	return Fault{}
}

// plays: the labels say the very words, or the words are the family of an instrument that they name.
func (k *Known) plays(m eval.Mention) bool {
	if k.says(m.Text) {
		return true
	}
	isFamily := strings.EqualFold(m.Text, m.Family) || strings.EqualFold(m.Text+"s", m.Family) || m.Family == "drums" && drumWords.MatchString(m.Text)
	return isFamily && k.families[m.Family]
}

// drumWords are names of the whole of drums, not of one of them.
var drumWords = regexp.MustCompile(`(?i)^(drum|drum (set|kit)|percussion)$`)

func (k *Known) silent(family string) bool {
	if family == "drums" && k.facts.Drums != nil {
		return !*k.facts.Drums
	}
	if k.facts.Complete {
		return !k.families[family]
	}
	return slices.ContainsFunc(k.facts.Tags, func(t string) bool { // such as "no voice"
		return slices.ContainsFunc(eval.Mentions(t), func(m eval.Mention) bool { return m.Denied && m.Family == family })
	})
}

// plainWords are genres that are common words as well: they are checked only beside "genre", "style" or "music".
var plainWords = []string{"country", "house", "soul", "world", "march", "swing", "metal", "folk", "experimental", "children's", "indie", "industrial", "latin"}

var genrePattern = func() *regexp.Regexp {
	var sure, perhaps []string
	for _, g := range tags.Genres() {
		word := strings.ReplaceAll(regexp.QuoteMeta(g), " ", "[ -]?")
		if slices.Contains(plainWords, g) {
			perhaps = append(perhaps, word)
		} else {
			sure = append(sure, word)
		}
	}
	return regexp.MustCompile(`(?i)\b(?:(` + strings.Join(sure, "|") + `)|(` + strings.Join(perhaps, "|") + `)[ -](?:genre|style|music|song|track))\b`)
}()

// genres checks genres: the labels name them.
func (k *Known) genres(answer string) Fault {
	squeezed := strings.NewReplacer(" ", "", "-", "").Replace(strings.ToLower(k.text))
	for _, m := range genrePattern.FindAllStringSubmatch(answer, -1) {
		genre := m[1] + m[2]
		if !strings.Contains(squeezed, strings.NewReplacer(" ", "", "-", "").Replace(strings.ToLower(genre))) {
			return Fault{Genre, genre}
		}
	}
	return Fault{}
}

var (
	capital = regexp.MustCompile(`[\p{Lu}][\p{L}'’-]+`)
	// commonCapitals are words that are written with a capital and name nobody.
	commonCapitals = map[string]bool{
		"BPM": true, "MIDI": true, "LUFS": true, "Hz": true, "EDM": true, "DJ": true, "English": true, "I'm": true, "I'd": true, "I'll": true, "I've": true, "Major": true, "Minor": true,
		"January": true, "Sunday": true, "Monday": true, "Friday": true, "Saturday": true, "Christmas": true,
	}
	// famous names are known also at the start of a sentence, where any word has a capital.
	famous = regexp.MustCompile(`\b(Bach|Beethoven|Mozart|Chopin|Schubert|Brahms|Haydn|Vivaldi|Handel|Debussy|Ravel|Liszt|Tchaikovsky|Wagner|Verdi|Dvorak|Dvořák|Mendelssohn|Schumann|` +
		`Beatles|Nirvana|Madonna|Metallica|Queen|Radiohead|Coldplay|Eminem|Adele|Beyoncé|Drake|Rihanna|Elvis|Dylan|Bowie|Prince|Hendrix|Miles Davis|Coltrane)\b`)
)

// names checks words with a capital within sentences, and famous names anywhere: the labels have them.
func (k *Known) names(text string) Fault {
	for _, sentence := range sentences(text) {
		trimmed := strings.TrimLeft(sentence, " \t\"'“‘(-*•:")
		for _, at := range capital.FindAllStringIndex(trimmed, -1) {
			word := strings.TrimSuffix(strings.TrimSuffix(trimmed[at[0]:at[1]], "'s"), "’s")
			start := at[0] == 0 && !famous.MatchString(word)
			if start || commonCapitals[word] || k.says(word) || keyPart(trimmed, at) {
				continue
			}
			return Fault{Name, word}
		}
	}
	return Fault{}
}

// keyPart: the "Eb" or "Bbm" of a key or chord has its own check.
func keyPart(text string, at []int) bool {
	word := text[at[0]:at[1]]
	return len(word) <= 4 && chordPattern.MatchString(word) || keyPattern.MatchString(text[at[0]:min(len(text), at[1]+8)]) && len(word) == 2
}
