package eval

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/larkstream/larkstream/engine/tags"
)

// Readings are what a label or an answer says, in one spelling: a tempo "120.5", a key "Eb minor", a metre "3/4", instruments "bass,piano",
// drums "yes" or "no". The empty reading is of an answer that cannot be read, or that says two things where there can be one.

var (
	numberPattern  = regexp.MustCompile(`[0-9]+(?:\.[0-9]+)?`)
	refusalPattern = regexp.MustCompile(`(?i)\b(can('|’)?t|cannot|can not|could(n('|’)t| not)|unable to|not able to|impossible to|not possible to|no way to) (be )?(tell|say|know|determine|identif|infer|answer|provide|hear that)` +
		`|\b(do not|don('|’)t) know\b|\bnot (something|in) (that )?(the )?audio\b|\bhear no music\b|\bno information about\b`)
	keyLabelPattern = regexp.MustCompile(`(?i)^([a-g])([b#♭♯]?)\s*[ :_-]?\s*(major|minor|maj|min)$`)
)

// readTempo reads the one number of beats a minute; an answer without the unit may hold no other number.
func readTempo(answer string) string {
	bpm := tags.TempoIn(answer)
	if numbers := numberPattern.FindAllString(answer, -1); bpm == 0 && len(numbers) == 1 {
		bpm, _ = strconv.ParseFloat(numbers[0], 64)
	}
	if bpm < 10 || bpm > 1000 {
		return ""
	}
	return number(bpm)
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// readKey reads the one key in major or minor.
func readKey(answer string) string {
	tonic, mode := tags.KeyIn(answer)
	if mode != "major" && mode != "minor" {
		return ""
	}
	return tonic + " " + mode
}

// parseKeyLabel reads a label such as Eb minor, d# min or "A♭ major"; "" = it is none.
func parseKeyLabel(label string) string {
	m := keyLabelPattern.FindStringSubmatch(strings.TrimSpace(label))
	if m == nil {
		return ""
	}
	mode := strings.ToLower(m[3])
	if !strings.HasSuffix(mode, "or") {
		mode += "or"
	}
	return readKey(strings.ToUpper(m[1]) + m[2] + " " + mode)
}

// readMetre reads the one time signature.
func readMetre(answer string) string { return tags.MetreIn(answer) }

// readDrums reads yes or no at the start of an answer, else whether drums are said to be there.
func readDrums(answer string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(answer), " ")
	switch w := strings.ToLower(strings.Trim(first, ",.!*")); w {
	case "yes", "no":
		return w
	}
	if named, denied := instrumentsIn(answer); slices.Contains(named, drumFamily) != slices.Contains(denied, drumFamily) {
		return yesNo(slices.Contains(named, drumFamily))
	}
	return ""
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// readInstruments reads the families that an answer says are there, without drums, which are a task of their own. "" = it names none.
func readInstruments(answer string) string {
	named, _ := instrumentsIn(answer)
	return joined(named)
}

func joined(families []string) string {
	list := slices.DeleteFunc(slices.Clone(families), func(f string) bool { return f == drumFamily })
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ",")
}

// Refuses tells whether an answer says that the question cannot be answered.
func Refuses(answer string) bool { return refusalPattern.MatchString(answer) }

// letters name the options of a multiple choice.
const letters = "ABCDEFGH"

var (
	leadPattern   = regexp.MustCompile(`(?is)^.*the correct answer is:?`)
	letterPattern = regexp.MustCompile(`^\(?([A-H])(?:[).:,]|$)|\(([A-H])\)`)
)

// readChoice is the place of the option that an answer takes, as a number: by its letter, alone or in brackets, else by the text of exactly one
// option. MuChoMusic's own reading takes any capital letter out of the answer, so that "A slow piece" is option A; ours does not.
func readChoice(answer string, choices []string) string {
	answer = strings.TrimSpace(leadPattern.ReplaceAllString(answer, ""))
	var found []string
	for _, m := range letterPattern.FindAllStringSubmatch(answer, -1) {
		if i := strings.Index(letters, m[1]+m[2]); i < len(choices) {
			found = append(found, strconv.Itoa(i))
		}
	}
	if len(found) == 0 {
		found = optionsIn(answer, choices)
	}
	slices.Sort(found)
	if found = slices.Compact(found); len(found) != 1 {
		return ""
	}
	return found[0]
}

// optionsIn are the places of the options whose text an answer holds; an option within a longer one that is held does not count.
func optionsIn(answer string, choices []string) []string {
	var held []int
	for i, c := range choices {
		if p := plain(c); p != "" && strings.Contains(" "+plain(answer)+" ", " "+p+" ") {
			held = append(held, i)
		}
	}
	var out []string
	for _, i := range held {
		within := slices.ContainsFunc(held, func(k int) bool {
			return k != i && len(choices[k]) > len(choices[i]) && strings.Contains(plain(choices[k]), plain(choices[i]))
		})
		if !within {
			out = append(out, strconv.Itoa(i))
		}
	}
	return out
}

// readGenre is the label that an answer names; "" = none or several. LLark matched by the nearest text embedding of a commercial service (0.558 on
// GTZAN) and by text (0.568); this is matching by text.
func readGenre(answer string, choices []string) string {
	found := optionsIn(spelled(answer), choices)
	if len(found) != 1 {
		return ""
	}
	i, err := strconv.Atoi(found[0])
	if err != nil {
		return ""
	}
	return plain(choices[i])
}

var genreSpellings = strings.NewReplacer("hip-hop", "hiphop", "hip hop", "hiphop", "r&b", "rnb", "r & b", "rnb", "rock'n'roll", "rock and roll", "electronica", "electronic")

func spelled(s string) string { return genreSpellings.Replace(strings.ToLower(s)) }

var notWord = regexp.MustCompile(`[^\p{L}\p{N}#]+`)

// plain is a text in lower case with single spaces in place of everything but letters, digits and #.
func plain(s string) string { return strings.TrimSpace(notWord.ReplaceAllString(spelled(s), " ")) }
