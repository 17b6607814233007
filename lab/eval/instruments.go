package eval

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

const drumFamily = "drums"

// members are the instruments of the families, which are lark-nano's (the General MIDI groups, docs/lark-nano.md section 8), and drums and voice.
var members = map[string][]string{
	"piano":    {"piano", "pianoforte", "grand piano", "electric piano", "keyboard", "harpsichord", "clavinet", "clavichord", "rhodes", "tack piano"},
	"mallets":  {"mallet", "vibraphone", "marimba", "xylophone", "glockenspiel", "celesta", "bell", "tubular bell", "music box", "dulcimer", "chimes"},
	"organ":    {"organ", "accordion", "harmonica", "melodica", "electronic organ", "bandoneon", "harmonium"},
	"guitar":   {"guitar", "acoustic guitar", "electric guitar", "clean electric guitar", "distorted electric guitar", "lap steel guitar", "ukulele", "mandolin", "lute", "classical guitar"},
	"bass":     {"bass", "bass guitar", "electric bass", "double bass", "upright bass", "contrabass", "acoustic bass", "synth bass"},
	"strings":  {"string", "violin", "viola", "cello", "harp", "string section", "violin section", "viola section", "cello section", "orchestra", "timpani", "string quartet"},
	"choir":    {"choir", "chorus", "choral", "vocal ensemble"},
	"brass":    {"brass", "trumpet", "trombone", "tuba", "horn", "french horn", "cornet", "brass section", "trumpet section", "trombone section", "euphonium", "flugelhorn", "horn section"},
	"reeds":    {"reed", "saxophone", "sax", "soprano saxophone", "alto saxophone", "tenor saxophone", "baritone saxophone", "clarinet", "bass clarinet", "oboe", "bassoon", "english horn", "cor anglais", "clarinet section"},
	"flutes":   {"flute", "piccolo", "recorder", "pan flute", "bamboo flute", "ocarina", "whistle", "tin whistle", "flute section", "dizi"},
	"synth":    {"synth", "synthesizer", "synthesiser", "synth pad", "synth lead", "synth string", "sampler"},
	"folk":     {"folk", "folk instrument", "sitar", "banjo", "fiddle", "bagpipe", "koto", "shamisen", "kalimba", "erhu", "oud", "guzheng", "zhongruan", "yangqin"},
	drumFamily: {"drum", "drum set", "drum kit", "drum machine", "percussion", "auxiliary percussion", "snare", "cymbal", "hi-hat", "hihat", "bass drum", "kick drum", "snare drum", "conga", "bongo", "tabla", "shaker", "tambourine", "timbales", "darbuka", "doumbek", "toms", "cabasa", "claps", "gong", "high hat"},
	"voice":    {"voice", "vocal", "vocals", "singing", "singer", "vocalist", "male singer", "female singer", "male vocal", "female vocal", "rapper", "male rapper", "female rapper", "vocalists", "male speaker", "female speaker", "rap"},
}

// familyOf maps every member, in its plain spelling, to its family.
var familyOf = func() map[string]string {
	out := map[string]string{}
	for family, words := range members {
		out[family] = family
		for _, w := range words {
			out[plain(w)] = family
		}
	}
	return out
}()

// instrumentPattern finds members, the longest where several begin, with a plural ending.
var instrumentPattern = func() *regexp.Regexp {
	words := make([]string, 0, len(familyOf))
	for w := range familyOf {
		words = append(words, regexp.QuoteMeta(w))
	}
	slices.SortFunc(words, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	return regexp.MustCompile(`(?i)\b(` + strings.ReplaceAll(strings.Join(words, "|"), " ", `[ -]`) + `)(?:s|es)?\b`)
}()

var (
	// clausePattern ends what a negation denies.
	clausePattern   = regexp.MustCompile(`[.;:,!?\n]|\b(?:but|although|while|instead)\b`)
	negationPattern = regexp.MustCompile(`(?i)\b(?:no|not|without|neither|nor|lacks|lack|isn['’]?t|aren['’]?t|don['’]?t|doesn['’]?t)\b`)
)

// FamilyOf is the family of a labelled instrument; an instrument outside the families is its own.
func FamilyOf(name string) string {
	p := plain(name)
	if f, ok := familyOf[p]; ok {
		return f
	}
	if f, ok := familyOf[strings.TrimSuffix(p, "s")]; ok {
		return f
	}
	return strings.ReplaceAll(p, ",", " ")
}

// Mention is an instrument that a text names.
type Mention struct {
	// Text as it stands there, without a plural ending; Family is its family.
	Text, Family string
	// Denied: the text says that it is not there.
	Denied bool
}

// Mentions are the instruments that a text names, in their order. A negation holds to the end of its clause: "no drums or bass, but a piano" names
// the piano and denies two.
func Mentions(text string) (out []Mention) {
	for _, clause := range clausePattern.Split(text, -1) {
		negated := len(clause)
		if at := negationPattern.FindStringIndex(clause); at != nil {
			negated = at[0]
		}
		for _, m := range instrumentPattern.FindAllStringSubmatchIndex(clause, -1) {
			word := clause[m[2]:m[3]]
			out = append(out, Mention{Text: word, Family: FamilyOf(word), Denied: m[0] >= negated})
		}
	}
	return out
}

// instrumentsIn are the families that an answer says are there, and those that it says are not; each once.
func instrumentsIn(answer string) (named, denied []string) {
	for _, m := range Mentions(answer) {
		if m.Denied {
			denied = append(denied, m.Family)
		} else {
			named = append(named, m.Family)
		}
	}
	slices.Sort(named)
	slices.Sort(denied)
	return slices.Compact(named), slices.Compact(denied)
}

// IsInstrument tells whether a name is of an instrument of the families, drums or voice.
func IsInstrument(name string) bool {
	_, ok := members[FamilyOf(name)]
	return ok
}
