package notes

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Names of slots that sentences speak of by themselves. The slots behind drums are instrument families, noted as yes or no.
const (
	tempoSlot = "tempo"
	keySlot   = "key"
	metreSlot = "metre"
	drumsSlot = "drums"
	yes       = "yes"
)

// Sentence is a sentence with its conditions. Text holds $tempo, $key, $second (the key's runner-up), $metre, $all (families and drums),
// $heard (families), $quoted (families as JSON strings) and $count (how many of $all, in words), which the notes fill.
type Sentence struct {
	Text   string              `json:"text"`
	When   map[string][]string `json:"when,omitempty"`   // slot: values that it may have
	Sure   []string            `json:"sure,omitempty"`   // slots that must be sure
	Unsure []string            `json:"unsure,omitempty"` // slots that must not be sure
	Tempo  []int               `json:"tempo,omitempty"`  // lowest and highest tempo
	Count  []int               `json:"count,omitempty"`  // fewest and most of $all
	// Asked says how what the question names stands to what is noted: see holds.
	Asked string `json:"asked,omitempty"`
	// Words are of the small letters a to z. Where a question has some of the words of all sentences, a sentence with words is said only if the question
	// has one of its own.
	Words []string `json:"words,omitempty"`
}

var (
	placePattern = regexp.MustCompile(`\$[a-z]+`)
	places       = []string{"$tempo", "$key", "$second", "$metre", "$all", "$heard", "$quoted", "$count"}
	ofTempo      = []string{"faster", "not faster", "slower", "not slower", "near", "far"}
	relations    = append([]string{"", "key", "other key", "no key", "metre", "other metre"}, ofTempo...)
	countWords   = []string{"no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"}
)

func (x *Sentence) check(s *Sheet) error {
	for _, p := range placePattern.FindAllString(x.Text, -1) {
		if !slices.Contains(places, p) {
			return fmt.Errorf("nothing fills %s", p)
		}
	}
	names := slices.Concat(x.Sure, x.Unsure)
	for name := range x.When {
		names = append(names, name)
	}
	for _, name := range names {
		if s.slot(name) < 0 {
			return fmt.Errorf("there is no slot %q", name)
		}
	}
	if !slices.Contains(relations, x.Asked) || len(x.Tempo) != 0 && len(x.Tempo) != 2 || len(x.Count) != 0 && len(x.Count) != 2 {
		return fmt.Errorf("asked %q is unknown, or tempo or count is not two numbers", x.Asked)
	}
	return nil
}

// state is what a window's notes say, in words.
type state struct {
	value  map[string]string
	second string
	unsure map[string]bool
	heard  []string // families
}

// all are the families, and drums.
func (n *state) all() []string {
	if n.value[drumsSlot] == yes {
		return append(slices.Clone(n.heard), drumsSlot)
	}
	return n.heard
}

func (n *state) tempo() int {
	bpm, _ := strconv.Atoi(n.value[tempoSlot]) // 0 where values are no numbers
	return bpm
}

// allows tells whether a sentence may be said of the notes in answer to what was asked.
func (n *state) allows(x *Sentence, q asked, near float64) bool {
	for slot, values := range x.When {
		if !slices.Contains(values, n.value[slot]) {
			return false
		}
	}
	unsure := func(slot string) bool { return n.unsure[slot] }
	if slices.ContainsFunc(x.Sure, unsure) || slices.ContainsFunc(x.Unsure, func(s string) bool { return !unsure(s) }) {
		return false
	}
	within := func(v int, limits []int) bool { return len(limits) == 0 || limits[0] <= v && v <= limits[1] }
	named := len(q.words) == 0 || len(x.Words) == 0 || slices.ContainsFunc(x.Words, func(w string) bool { return q.words[w] })
	return named && within(n.tempo(), x.Tempo) && within(len(n.all()), x.Count) && n.holds(x.Asked, q, near)
}

// holds tells whether a relation to what the question names is true. A relation needs what it is to in the question: a number, a key or
// a metre. "no key" is true of questions that name none: whoever asks whether it is in C major does not ask for the mode alone.
func (n *state) holds(relation string, q asked, near float64) bool {
	bpm := float64(n.tempo())
	if slices.Contains(ofTempo, relation) && q.number == 0 {
		return false
	}
	switch relation {
	case "faster", "not faster":
		return bpm > q.number == (relation == "faster")
	case "slower", "not slower":
		return bpm < q.number == (relation == "slower")
	case "near", "far":
		return (bpm >= q.number*(1-near) && bpm <= q.number*(1+near)) == (relation == "near")
	case "key", "other key":
		return len(q.keys) > 0 && slices.ContainsFunc(q.keys, func(k string) bool { return strings.HasPrefix(n.value[keySlot], k) }) == (relation == "key")
	case "no key":
		return len(q.keys) == 0
	case "metre", "other metre":
		return len(q.metres) > 0 && slices.Contains(q.metres, n.value[metreSlot]) == (relation == "metre")
	}
	return true
}

// fill is the sentence with what is noted.
func (n *state) fill(text string) string {
	return placePattern.ReplaceAllStringFunc(text, func(p string) string {
		switch p {
		case "$second":
			return n.second
		case "$all":
			return list(n.all())
		case "$heard":
			if len(n.heard) == 0 {
				return "music"
			}
			return list(n.heard)
		case "$quoted":
			quoted := make([]string, len(n.heard))
			for i, f := range n.heard {
				quoted[i] = strconv.Quote(f)
			}
			return strings.Join(quoted, ", ")
		case "$count":
			return countWords[min(len(n.all()), len(countWords)-1)]
		}
		return n.value[p[1:]]
	})
}

// list joins words as English does: a, b and c.
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// speaksOf are the slots that a sentence says something of that the decoder may be wrong about.
func (x *Sentence) speaksOf() []string {
	var out []string
	for _, p := range placePattern.FindAllString(x.Text, -1) {
		if name := p[1:]; name == tempoSlot || name == keySlot || name == metreSlot {
			out = append(out, name)
		}
	}
	return out
}
