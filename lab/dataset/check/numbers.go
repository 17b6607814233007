package check

import (
	"math"
	"regexp"
	"strconv"
	"strings"
)

var (
	numberPattern = regexp.MustCompile(`[0-9]+(?:\.[0-9]+)?`)
	clockPattern  = regexp.MustCompile(`\b([0-9]{1,2}):([0-5][0-9])\b`)
	meterPattern  = regexp.MustCompile(`\b([0-9]{1,2})/([0-9]{1,2})\b`)
	numberedChord = regexp.MustCompile(`\b[A-G][#b♯♭]?(?:maj|min|dim|aug|sus|add|m)?[0-9]{1,2}\b`)
	listPattern   = regexp.MustCompile(`(?m)^\s*[0-9]{1,2}[.)]\s`)
	tempoUnit     = regexp.MustCompile(`(?i)^[\s-]*(bpm|beats (per|a|each) minute)`)
	timeUnit      = regexp.MustCompile(`(?i)^[\s-]*(s|sec|secs|second|seconds)\b`)
	loudUnit      = regexp.MustCompile(`(?i)^[\s-]*(lufs|lu|db)\b`)
	spelled       = regexp.MustCompile(`(?i)\b(two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|sixteen|twenty)[\s-]+(?:[a-z]+[\s-]+)?` +
		`(beats?|bars?|measures?|chords?|instruments?|voices?|singers?|guitars?|pianos?|violins?|cellos?|flutes?|drums?|sections?|seconds?|minutes?|times?|notes?|counts?)\b`)
	thingAfter = regexp.MustCompile(`(?i)^[\s-]+(?:[a-z]+[\s-]+)?(beat|bar|measure|chord|instrument|note|count|voice|singer|guitar|piano|violin|cello|flute|drum|section)s?\b`)
	countOf    = map[string]int{
		"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "sixteen": 16, "twenty": 20,
	}
)

// signature reads a time signature.
func signature(metre string) (beats, unit int, ok bool) {
	m := meterPattern.FindStringSubmatch(metre)
	if m == nil {
		return 0, 0, false
	}
	beats, _ = strconv.Atoi(m[1]) // the pattern has digits only
	unit, _ = strconv.Atoi(m[2])
	return beats, unit, true
}

// thingOf is the name under which a thing is counted.
func thingOf(word string) string {
	switch word {
	case "measure":
		return "bar"
	case "count":
		return "beat"
	}
	return word
}

// near tells whether a number as it is written is one of some values, rounded to the places that it is written with.
func near(written string, value float64, among []float64) bool {
	places := 0
	if _, decimals, found := strings.Cut(written, "."); found {
		places = len(decimals)
	}
	half := 0.5*math.Pow(10, -float64(places)) + 1e-9
	for _, v := range among {
		if math.Abs(v-value) <= half {
			return true
		}
	}
	return false
}

// numbers checks every number: with the unit of a tempo it is the tempo, its half or its double; with seconds or as minutes and seconds it is a time that occurs;
// before a thing it is how many there are; else it is any number of the facts.
func (k *Known) numbers(answer string) Fault {
	text := listPattern.ReplaceAllString(answer, " ")
	for _, m := range clockPattern.FindAllStringSubmatch(text, -1) {
		minutes, _ := strconv.Atoi(m[1])
		seconds, _ := strconv.Atoi(m[2])
		if !near("0", float64(60*minutes+seconds), k.times) {
			return Fault{Number, m[0]}
		}
	}
	text = meterPattern.ReplaceAllString(clockPattern.ReplaceAllString(text, " "), " ")
	text = numberedChord.ReplaceAllString(text, " ") // such as G7, which has its own check
	for _, at := range numberPattern.FindAllStringIndex(text, -1) {
		written, rest := text[at[0]:at[1]], text[at[1]:]
		value, err := strconv.ParseFloat(written, 64)
		if err != nil || !k.number(written, value, rest) {
			return Fault{Number, strings.TrimSpace(written + firstWord(rest))}
		}
	}
	for _, m := range spelled.FindAllStringSubmatch(text, -1) {
		n, thing := countOf[strings.ToLower(m[1])], strings.TrimSuffix(strings.ToLower(m[2]), "s")
		timed := (thing == "second" || thing == "minute") && near("0", float64(n), k.times)
		if !k.counts[counted{thingOf(thing), n}] && !k.words[strings.ToLower(m[1])] && !timed {
			return Fault{Number, m[0]}
		}
	}
	return Fault{}
}

func firstWord(text string) string {
	fields := strings.Fields(text)
	if len(fields) == 0 || strings.IndexFunc(text, func(r rune) bool { return r != ' ' }) > 1 {
		return ""
	}
	return " " + strings.Trim(fields[0], ".,;")
}

func (k *Known) number(written string, value float64, rest string) bool {
	switch {
	case tempoUnit.MatchString(rest):
		t := k.facts.TempoBPM
		return t > 0 && near(written, value, []float64{t, t / 2, 2 * t}) || k.stated(written)
	case timeUnit.MatchString(rest):
		return near(written, value, k.times) || k.stated(written)
	case loudUnit.MatchString(rest):
		return k.facts.LoudnessLUFS != nil && near(written, value, []float64{math.Abs(*k.facts.LoudnessLUFS)}) || k.stated(written)
	}
	if m := thingAfter.FindStringSubmatch(rest); m != nil && value == math.Trunc(value) {
		return k.counts[counted{thingOf(strings.ToLower(m[1])), int(value)}] || k.stated(written)
	}
	return near(written, value, k.values) || strings.Contains(written, ".") && near(written, value, k.times)
}

// stated tells whether a number stands in the labels' texts just so.
func (k *Known) stated(written string) bool { return k.words[written] }

// metres checks time signatures.
func (k *Known) metres(answer string) Fault {
	for _, m := range meterPattern.FindAllString(answer, -1) {
		if m != k.facts.Metre && !strings.Contains(k.text, m) {
			return Fault{Metre, m}
		}
	}
	return Fault{}
}
