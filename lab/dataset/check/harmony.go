package check

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/larkstream/larkstream/lab/dataset/facts"
)

var (
	keyPattern   = regexp.MustCompile(`\b([A-G](?:[#b♯♭]|[ -](?:sharp|flat))?)[ -]([Mm]ajor|[Mm]inor)\b`)
	chordPattern = regexp.MustCompile(`(?:^|[^\p{L}\p{N}])([A-G](?:[#b♯♭])?)(:?(?:maj|min|dim|aug|sus|add|m)?[0-9]{0,2})(?:$|[^\p{L}\p{N}#♯♭'’/-]|-[^\p{L}])`)
	harmonic     = regexp.MustCompile(`(?i)\b(chords?|triads?|harmon\w+|progression)\b`)
	tonal        = regexp.MustCompile(`(?i)\b(keys?|tonic|tonality|scale|centre|center)\b`)
	sentenceEnd  = regexp.MustCompile(`[.!?](?:\s|$)|\n`)
)

func sentences(text string) []string { return sentenceEnd.Split(text, -1) }

func canonicalKey(tonic, mode string) string {
	return strconv.Itoa(facts.PitchClass(tonic)) + " " + strings.ToLower(mode)
}

// canonicalChord is a chord with its root as a pitch class, so that Eb and D# are one.
func canonicalChord(name string) string {
	root := 1
	for root < len(name) && strings.ContainsRune("#b", rune(name[root])) {
		root++
	}
	return strconv.Itoa(facts.PitchClass(name[:root])) + " " + name[root:]
}

// keys checks every "C major": it is the key, or, where a sentence speaks of chords, one of them. Enharmonic names are the same.
func (k *Known) keys(answer string) Fault {
	for _, sentence := range sentences(answer) {
		for _, at := range keyPattern.FindAllStringSubmatchIndex(sentence, -1) {
			tonic, mode := sentence[at[2]:at[3]], strings.ToLower(sentence[at[4]:at[5]])
			ofChords := aboutChords(sentence[:at[0]], sentence[at[1]:])
			if ofChords && k.chordSet[canonicalChord(chordOf(tonic, mode))] || !ofChords && k.isKey(tonic, mode) || k.statesKey(sentence[at[0]:at[1]]) {
				continue
			}
			kind := Key
			if ofChords {
				kind = Chord
			}
			return Fault{kind, sentence[at[0]:at[1]]}
		}
	}
	return Fault{}
}

func (k *Known) isKey(tonic, mode string) bool {
	known := keyPattern.FindStringSubmatch(k.facts.Key)
	return known != nil && canonicalKey(known[1], known[2]) == canonicalKey(tonic, mode)
}

// statesKey: a title such as "Quintet in A major" may be repeated.
func (k *Known) statesKey(key string) bool {
	return strings.Contains(strings.ToLower(k.text), strings.ToLower(key))
}

// aboutChords tells whether what stands between is said of chords: the nearest word before that tells is of chords, or "chord" follows.
func aboutChords(before, after string) bool {
	if m := harmonic.FindStringIndex(after); m != nil && m[0] <= 1 {
		return true
	}
	chord, key := lastIndex(harmonic, before), lastIndex(tonal, before)
	return chord > key
}

func lastIndex(p *regexp.Regexp, text string) int {
	all := p.FindAllStringIndex(text, -1)
	if len(all) == 0 {
		return -1
	}
	return all[len(all)-1][0]
}

func chordOf(tonic, mode string) string {
	name := strings.NewReplacer("♯", "#", "♭", "b", " sharp", "#", " flat", "b", "-sharp", "#", "-flat", "b").Replace(tonic)
	if mode == "minor" {
		name += "m"
	}
	return name
}

// chords checks chord symbols. A letter alone counts only in a sentence about chords, and "A" and the like are words where a small letter follows.
func (k *Known) chords(answer string) Fault {
	for _, sentence := range sentences(keyPattern.ReplaceAllString(answer, "")) {
		about := harmonic.MatchString(sentence)
		for rest := sentence; ; {
			at := chordPattern.FindStringSubmatchIndex(rest)
			if at == nil {
				break
			}
			root, kind, after := rest[at[2]:at[3]], strings.TrimPrefix(rest[at[4]:at[5]], ":"), rest[at[5]:]
			rest = after
			if len(root) == 1 && kind == "" && (!about || article(root, after)) {
				continue
			}
			if !about && kind == "" && k.isTonic(root) {
				continue
			}
			if !k.chordSet[canonicalChord(chordSymbol(root, kind))] && !k.says(root+kind) {
				return Fault{Chord, root + kind}
			}
		}
	}
	return Fault{}
}

func (k *Known) isTonic(root string) bool {
	known := keyPattern.FindStringSubmatch(k.facts.Key)
	return known != nil && facts.PitchClass(known[1]) == facts.PitchClass(root)
}

var chordFollows = regexp.MustCompile(`^ (and|to|then|or|chord|chords|is|at|for|from|in|with|followed|back|again|as)\b`)

// article tells whether a letter is a word: "A calm piece".
func article(root, after string) bool {
	next := strings.TrimPrefix(after, " ")
	return root == "A" && next != after && next != "" && next[0] >= 'a' && next[0] <= 'z' && !chordFollows.MatchString(after)
}

func chordSymbol(root, kind string) string {
	root = strings.NewReplacer("♯", "#", "♭", "b").Replace(root)
	switch kind {
	case "maj":
		kind = ""
	case "min":
		kind = "m"
	}
	return root + kind
}
