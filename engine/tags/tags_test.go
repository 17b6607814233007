package tags_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/internal/alloctest"
	"github.com/larkstream/larkstream/engine/tags"
)

const full = `{"tempo_bpm":105,"key":"G","mode":"major","metre":"4/4","instruments":["piano","drums"],"genre":"r&b","mood":["happy"],"description":"A <piece> & more."}`

const empty = `{"tempo_bpm":null,"key":null,"mode":null,"metre":null,"instruments":null,"genre":null,"mood":null,"description":null}`

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := tags.Parse([]byte(full))
	require.NoError(t, err)
	require.Equal(t, tags.Tags{
		TempoBPM: 105, Key: "G", Mode: "major", Metre: "4/4", Instruments: []string{"piano", "drums"}, Genre: "r&b", Mood: []string{"happy"},
		Description: "A <piece> & more.",
	}, got)
	require.Equal(t, full, got.String(), "without HTML escapes") //nolint:testifylint // the compact form itself
	raw, err := json.Marshal(map[string]any{"tags": got})
	require.NoError(t, err)
	require.Contains(t, string(raw), `{"tags":{"tempo_bpm":105,"key":"G",`)

	got, err = tags.Parse([]byte(empty))
	require.NoError(t, err)
	require.Zero(t, got)
	require.Equal(t, empty, got.String())
}

func TestClientsReadWordsOfLaterVersions(t *testing.T) {
	t.Parallel()
	text := strings.Replace(full, `"r&b"`, `"hyperpop"`, 1)
	var got struct{ Tags *tags.Tags }
	require.NoError(t, json.Unmarshal([]byte(`{"tags":`+text+`}`), &got))
	require.Equal(t, "hyperpop", got.Tags.Genre)
	require.Equal(t, []string{"piano", "drums"}, got.Tags.Instruments)
	require.Error(t, json.Unmarshal([]byte(`{"tags":{"key":"G"}}`), &got))
}

func TestParseSettlesWhatMeansTheSame(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"\n" + strings.ReplaceAll(full, ",", " ,\n\t") + " ":                                                                    full,
		strings.Replace(full, `["happy"]`, `["happy","calm","happy"]`, 1):                                                       strings.Replace(full, `["happy"]`, `["happy","calm"]`, 1),
		strings.Replace(full, `["happy"]`, `[]`, 1):                                                                             strings.Replace(full, `["happy"]`, `null`, 1),
		strings.Replace(full, "A <piece> & more.", `  A\n<piece>\u0020&  more.`, 1):                                             full,
		strings.Replace(full, "<piece>", "\uFFFD<pie\uFFFD\\ud800ce>", 1):                                                       full,
		strings.Replace(full, `"A <piece> & more."`, `" \t "`, 1):                                                               strings.Replace(full, `"A <piece> & more."`, `null`, 1),
		`{"description":null,"tempo_bpm":null,"mood":null,"key":null,"mode":null,"metre":null,"instruments":null,"genre":null}`: empty,
	} {
		got, err := tags.Parse([]byte(in))
		require.NoError(t, err, in)
		require.Equal(t, want, got.String(), in)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	replace := func(old, new string) string { return strings.Replace(full, old, new, 1) }
	for in, want := range map[string]string{
		"":                                     "ends early",
		"null":                                 "not a JSON object",
		"[]":                                   "not a JSON object",
		"tags: none":                           "not JSON",
		full[:len(full)-1]:                     "ends early",
		full + "x":                             "after the object",
		full + full:                            "after the object",
		replace(`"key":"G",`, ""):              "field key is missing",
		replace(`"key":"G"`, `"Key":"G"`):      `field "Key" is not known`,
		replace(`{`, `{"key":"A",`):            `"key" is not known or comes twice`,
		replace(`{`, `{"artist":"me",`):        `field "artist" is not known`,
		replace(`105`, `19`):                   "tempo_bpm 19 is not within 20 to 300",
		replace(`105`, `301`):                  "tempo_bpm 301",
		replace(`105`, `104.5`):                "field tempo_bpm",
		replace(`105`, `"105"`):                "field tempo_bpm: string where",
		replace(`105`, `1e400`):                "field tempo_bpm",
		replace(`"G"`, `"H"`):                  `key "H" is not in the vocabulary`,
		replace(`"G"`, `"unknown"`):            `key "unknown" is not in the vocabulary`,
		replace(`"G"`, `"g"`):                  `key "g"`,
		replace(`"G"`, `["G"]`):                "field key: array where",
		replace(`"4/4"`, `"11/3"`):             `metre "11/3"`,
		replace(`"major"`, `""`):               `mode ""`,
		replace(`"drums"`, `"theremin"`):       `instruments "theremin"`,
		replace(`"drums"`, `null`):             "instruments holds null",
		replace(`["happy"]`, `"happy"`):        "field mood: string where",
		replace(`["happy"]`, `{"happy":true}`): "field mood: object where",
		replace(`"r&b"`, `"nonsense"`):         `genre "nonsense"`,
		replace(`"drums"`, strings.Repeat(`"drums",`, 16)+`"drums"`): "instruments has 18 values, limit 16",
		replace(`"happy"`, `"happy","sad","sad","sad","sad"`):        "mood has 5 values, limit 4",
		replace(`more`, strings.Repeat("ä", 241)):                    "description has 254 characters, limit 240",
		replace(`more`, `\u0007`):                                    "control character",
		replace(`more`, "\xff"):                                      "UTF-8",
		strings.Repeat(" ", tags.MaxBytes) + full:                    "limit 8192",
	} {
		_, err := tags.Parse([]byte(in))
		require.ErrorContains(t, err, want, in)
	}
}

func TestVocabulariesAreClosedAndPlain(t *testing.T) {
	t.Parallel()
	for name, list := range vocabularies() {
		require.Len(t, list, len(slices.Compact(slices.Sorted(slices.Values(list)))), "%s names a word twice", name)
		for _, w := range list {
			require.NotContains(t, w, `"`)
			require.NotContains(t, w, `\`)
			require.False(t, strings.ContainsFunc(w, func(r rune) bool { return r > unicode.MaxASCII || unicode.IsControl(r) }), w)
			require.Equal(t, strings.TrimSpace(w), w)
		}
	}
}

func vocabularies() map[string][]string {
	return map[string][]string{
		"keys": tags.Keys(), "modes": tags.Modes(), "metres": tags.Metres(), "instruments": tags.Instruments(), "genres": tags.Genres(), "moods": tags.Moods(),
	}
}

func TestGrammarDerivesOnlyWhatParseReadsAndTheSchemaAdmits(t *testing.T) {
	t.Parallel()
	rules := readGBNF(t, tags.Grammar())
	schema, err := decode[map[string]any](tags.JSONSchema())
	require.NoError(t, err)
	seen := map[string]int{}
	for seed := range uint64(2500) {
		text := rules["root"](rand.New(rand.NewPCG(seed, 1)))
		require.LessOrEqual(t, len(text), tags.MaxBytes)
		got, err := tags.Parse([]byte(text))
		require.NoError(t, err, text)
		v, err := decode[any]([]byte(text))
		require.NoError(t, err)
		require.NoError(t, admits(schema, v), text)
		count(seen, got)
	}
	for name, list := range vocabularies() {
		for _, w := range list {
			require.Positive(t, seen[name+" "+w], "the grammar never names %s %q", name, w)
		}
	}
	require.Equal(t, tags.MinTempoBPM, seen["slowest"])
	require.Equal(t, tags.MaxTempoBPM, seen["fastest"])
	require.Equal(t, tags.MaxInstruments, seen["longest"])
}

// count notes which words and bounds were reached.
func count(seen map[string]int, v tags.Tags) {
	seen["keys "+v.Key]++
	seen["modes "+v.Mode]++
	seen["metres "+v.Metre]++
	seen["genres "+v.Genre]++
	for _, w := range v.Instruments {
		seen["instruments "+w]++
	}
	for _, w := range v.Mood {
		seen["moods "+w]++
	}
	seen["longest"] = max(seen["longest"], len(v.Instruments))
	seen["fastest"] = max(seen["fastest"], v.TempoBPM)
	if v.TempoBPM > 0 && (seen["slowest"] == 0 || v.TempoBPM < seen["slowest"]) {
		seen["slowest"] = v.TempoBPM
	}
}

func TestTheSchemaAdmitsNothingThatParseRefuses(t *testing.T) {
	t.Parallel()
	schema, err := decode[map[string]any](tags.JSONSchema())
	require.NoError(t, err)
	for _, change := range [][2]string{
		{`105`, `19`},
		{`105`, `301`},
		{`105`, `104.5`},
		{`105`, `"105"`},
		{`"G"`, `"H"`},
		{`"G"`, `["G"]`},
		{`"key":"G",`, ``},
		{`"key"`, `"Key"`},
		{`"major"`, `"unknown"`},
		{`"4/4"`, `"1/1"`},
		{`"drums"`, `"theremin"`},
		{`["happy"]`, `[null]`},
		{`["happy"]`, `["happy","sad","sad","sad","sad"]`},
		{`"r&b"`, `1`},
		{`more`, strings.Repeat("ä", 241)},
		{`{`, `{"artist":"me",`},
	} {
		text := strings.Replace(full, change[0], change[1], 1)
		_, err := tags.Parse([]byte(text))
		require.Error(t, err, text)
		v, err := decode[any]([]byte(text))
		require.NoError(t, err, text)
		require.Error(t, admits(schema, v), text)
	}
	v, err := decode[any]([]byte(full))
	require.NoError(t, err)
	require.NoError(t, admits(schema, v))
}

func TestTheSchemaKeepsTheGrammarsOrder(t *testing.T) {
	t.Parallel()
	schema, order := string(tags.JSONSchema()), []int{}
	for _, name := range []string{"tempo_bpm", "key", "mode", "metre", "instruments", "genre", "mood", "description"} {
		order = append(order, strings.Index(schema, fmt.Sprintf(`%q:{"anyOf"`, name)))
	}
	require.Positive(t, order[0])
	require.True(t, slices.IsSorted(order), order)
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{full, empty, "{}", full + " ", `{"key":"\ud800"}`, strings.Replace(full, "105", "1e2", 1)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var got tags.Tags
		var err error
		alloctest.Bound(t, len(raw), 64<<10, 100, func() { got, err = tags.Parse(raw) })
		if err != nil {
			require.LessOrEqual(t, len(err.Error()), 400)
			return
		}
		again, err := tags.Parse([]byte(got.String()))
		require.NoError(t, err)
		require.Equal(t, got, again)
		require.LessOrEqual(t, len(got.Instruments), tags.MaxInstruments)
		require.LessOrEqual(t, len(got.Mood), tags.MaxMoods)
	})
}
