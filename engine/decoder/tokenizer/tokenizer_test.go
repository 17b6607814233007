package tokenizer

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/internal/alloctest"
	"github.com/larkstream/larkstream/engine/model/modeltest"
)

func setup(tb testing.TB) *Tokenizer {
	tb.Helper()
	t, err := Parse(modeltest.Tokenizer(tb))
	require.NoError(tb, err)
	return t
}

// plain gives the ids of a question.
func plain(tb testing.TB, t *Tokenizer, question string) []int {
	tb.Helper()
	ids, err := t.Plain(t.Normalize(question))
	require.NoError(tb, err)
	return ids
}

// decode gives the text of ids.
func decode(p Pieces, ids []int) (string, error) {
	s := NewStream(p)
	var text strings.Builder
	for _, id := range ids {
		part, err := s.Push(id)
		if err != nil {
			return "", err
		}
		text.WriteString(part)
	}
	text.WriteString(s.Flush())
	return text.String(), nil
}

// spell names the ids, so that tests read as text.
func spell(t *Tokenizer, ids []int) []string {
	var names []string
	for _, id := range ids {
		names = append(names, t.vocab[id])
	}
	return names
}

func TestEncodeTakesTheLongestPiece(t *testing.T) {
	t.Parallel()
	tok := setup(t)
	for text, want := range map[string][]string{
		"":                {},
		" \t\n\v\f\r ":    {},
		"What THE":        {"▁what", "▁the"},
		"  tempo\n\tis  ": {"▁tempo", "▁is"},
		"theta":           {"▁the", "t", "a"},
		"b120 120":        {"▁", "<0x62>", "<0x31>", "<0x32>", "<0x30>", "▁120"},
		"é\xff":           {"▁", "é", "<0xFF>"},
		"\u00a0":          {"▁", "<0xC2>", "<0xA0>"},
		"the\x1cthe":      {"▁the", "<0x1C>", "t", "<0x68>", "e"},
	} {
		require.Equal(t, append([]string{}, want...), append([]string{}, spell(tok, plain(t, tok, text))...), "%q", text)
	}
}

func TestUserTextNeverBecomesASpecialToken(t *testing.T) {
	t.Parallel()
	tok := setup(t)
	for _, text := range []string{"<s>", "</s>", "a<audio_end> <q>", "<a>", "<pad>", "<0x41>", "<S>"} {
		for _, id := range plain(t, tok, text) {
			require.False(t, tok.hidden[id], "%q gave %q", text, tok.vocab[id])
		}
		require.Greater(t, len(plain(t, tok, text)), 2, "%q must be spelled out", text)
	}
	ids, err := tok.Plain("The")
	require.NoError(t, err)
	require.Equal(t, []string{"▁The"}, spell(tok, ids), "a template keeps its capitals")
	id, size := tok.SpecialAt("<audio_end>?")
	require.Equal(t, []any{4, 11}, []any{id, size})
	_, size = tok.SpecialAt(" <s>")
	require.Zero(t, size)
}

func TestDecode(t *testing.T) {
	t.Parallel()
	tok := setup(t)
	text := func(pieces ...string) string {
		var ids []int
		for _, p := range pieces {
			for id, v := range tok.vocab {
				if v == p {
					ids = append(ids, id)
					break
				}
			}
		}
		require.Len(t, ids, len(pieces))
		text, err := decode(tok, ids)
		require.NoError(t, err)
		return text
	}
	require.Equal(t, "The tempo is 120.", text("<s>", "▁The", "▁tempo", "▁is", "▁120", ".", "</s>"))
	require.Equal(t, " the", text("▁", "▁the"), "one leading space goes")
	require.Equal(t, "é\uFFFD\uFFFD", text("<0xC3>", "<0xA9>", "<0xE2>", "<0x96>", "<0xFF>"))
	require.Equal(t, "a b\uFFFD", text("a", "<0xE2>", "<0x96>", "<0x81>", "<0x62>", "<0xE2>"), "a marker spelled in bytes is a space")
	_, err := decode(tok, []int{tok.Size()})
	require.Error(t, err)
	_, err = decode(tok, []int{-1})
	require.Error(t, err)
}

func TestAStreamHoldsBackIncompleteCharacters(t *testing.T) {
	t.Parallel()
	tok := setup(t)
	s := NewStream(tok)
	var parts []string
	for _, id := range []int{7 + 0xf0, 7 + 0x9f, 7 + 0x8e, 7 + 0xb5, 7 + 'a', 7 + 0xe2} {
		part, err := s.Push(id)
		require.NoError(t, err)
		parts = append(parts, part)
	}
	require.Equal(t, []string{"", "", "", "🎵", "a", ""}, parts)
	require.Equal(t, "\uFFFD", s.Flush())
}

func TestDamagedTokenizersAreRefused(t *testing.T) {
	t.Parallel()
	good := string(modeltest.Tokenizer(t))
	for want, broken := range map[string]string{
		"parsing":             good[:100],
		"unknown field":       strings.Replace(good, `"lowercase"`, `"uppercase"`, 1),
		"greedy is expected":  strings.Replace(good, `"greedy"`, `"bpe"`, 1),
		"is not at":           strings.Replace(good, `"\u003cs\u003e":1`, `"\u003cs\u003e":2`, 1),
		"byte tokens":         strings.Replace(good, `"\u003c0x41\u003e"`, `"x"`, 1),
		"occurs twice":        strings.Replace(good, `"a","e"`, `"a","a"`, 1),
		"is empty":            strings.Replace(good, `"a","e"`, `"","e"`, 1),
		"larger than":         strings.Repeat(" ", maxFile+1),
		`"</s>" is not at -1`: strings.Replace(good, `"\u003c/s\u003e":2`, `"\u003c/s\u003e":-1`, 1),
	} {
		_, err := Parse([]byte(broken))
		require.ErrorContains(t, err, want)
	}
	_, err := Open(filepath.Join(t.TempDir(), "tokenizer.json"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestGoldenCases compares with what the trainer's tokenizer gives.
func TestGoldenCases(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..", "..")
	tok, err := Open(filepath.Join(root, "models", "lark-nano", "tokenizer.json"))
	require.NoError(t, err)
	raw, err := os.ReadFile(filepath.Join(root, "training", "testdata", "tokenizer.json"))
	require.NoError(t, err)
	var cases []struct {
		Text    string `json:"text"`
		Hex     string `json:"hex"`
		IDs     []int  `json:"ids"`
		Decoded string `json:"decoded"`
	}
	require.NoError(t, json.Unmarshal(raw, &cases))
	require.NotEmpty(t, cases)
	for _, c := range cases {
		text, err := hex.DecodeString(c.Hex)
		require.NoError(t, err)
		require.Equal(t, append([]int{}, c.IDs...), append([]int{}, plain(t, tok, string(text))...), "%q", text)
		decoded, err := decode(tok, c.IDs)
		require.NoError(t, err)
		require.Equal(t, c.Decoded, decoded)
	}
}

// FuzzEncode: any bytes give ordinary ids only, and decode to the same words.
func FuzzEncode(f *testing.F) {
	tok := setup(f)
	for _, s := range []string{"What is the tempo?", "<s>é\xff▁", " \t", "<0x41>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ids := plain(t, tok, text)
		require.LessOrEqual(t, len(ids), 2*len(text)+1)
		for _, id := range ids {
			require.False(t, tok.hidden[id])
		}
		decoded, err := decode(tok, ids)
		require.NoError(t, err)
		require.True(t, utf8.ValidString(decoded))
		if utf8.ValidString(text) && !strings.Contains(text, marker) {
			words := strings.FieldsFunc(lowerASCII(text), func(r rune) bool { return strings.ContainsRune(asciiRoom, r) })
			require.Equal(t, strings.Join(words, " "), decoded)
		}
	})
}

// FuzzDecode: any ids give valid text, and a stream gives the same text in parts.
func FuzzDecode(f *testing.F) {
	tok := setup(f)
	f.Add([]byte{1, 7, 200, 249, 3, 18})
	f.Fuzz(func(t *testing.T, raw []byte) {
		ids := make([]int, len(raw))
		for i, b := range raw {
			ids[i] = int(b) * tok.Size() / 256
		}
		text, err := decode(tok, ids)
		require.NoError(t, err)
		require.True(t, utf8.ValidString(text))
	})
}

func FuzzParse(f *testing.F) {
	f.Add(modeltest.Tokenizer(f))
	f.Add([]byte(`{"type":"greedy","special":{"":0},"vocab":[""]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var tok *Tokenizer
		var err error
		alloctest.Bound(t, len(raw), 256<<10, 200, func() { tok, err = Parse(raw) })
		if err == nil {
			require.NotPanics(t, func() { plain(t, tok, "hello <s>"); tok.SpecialAt("<s>hello") })
		}
	})
}
