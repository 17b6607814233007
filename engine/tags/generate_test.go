package tags_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// node derives a random text of a part of a grammar.
type node func(rng *rand.Rand) string

// gbnf reads the part of llama.cpp's notation that Grammar uses: literals, classes, groups, names, {n,m} and alternatives.
type gbnf struct {
	t     *testing.T
	rules map[string]node
	text  string // what is left of the rule in hand
}

func readGBNF(t *testing.T, text string) map[string]node {
	t.Helper()
	g := &gbnf{t: t, rules: map[string]node{}}
	for line := range strings.Lines(text) {
		name, body, found := strings.Cut(strings.TrimSpace(line), " ::= ")
		require.True(t, found, line)
		g.text = body
		g.rules[name] = g.alternatives()
		require.Empty(t, g.text, line)
	}
	return g.rules
}

func (g *gbnf) alternatives() node {
	options := []node{g.sequence()}
	for strings.HasPrefix(g.text, "| ") {
		g.text = g.text[2:]
		options = append(options, g.sequence())
	}
	return func(rng *rand.Rand) string { return options[rng.IntN(len(options))](rng) }
}

func (g *gbnf) sequence() node {
	var parts []node
	for g.text != "" && g.text[0] != '|' && g.text[0] != ')' {
		parts = append(parts, g.repeated(g.item()))
		g.text = strings.TrimPrefix(g.text, " ")
	}
	require.NotEmpty(g.t, parts)
	return func(rng *rand.Rand) string {
		var b strings.Builder
		for _, p := range parts {
			b.WriteString(p(rng))
		}
		return b.String()
	}
}

func (g *gbnf) item() node {
	switch g.text[0] {
	case '"':
		end := 1
		for ; g.text[end] != '"'; end++ {
			if g.text[end] == '\\' {
				end++
			}
		}
		literal, err := strconv.Unquote(g.text[:end+1])
		require.NoError(g.t, err)
		g.text = g.text[end+1:]
		return func(*rand.Rand) string { return literal }
	case '(':
		g.text = g.text[1:]
		group := g.alternatives()
		require.Equal(g.t, byte(')'), g.text[0])
		g.text = g.text[1:]
		return group
	case '[':
		return g.class()
	}
	end := strings.IndexFunc(g.text, func(r rune) bool { return (r < 'a' || r > 'z') && r != '-' })
	if end < 0 {
		end = len(g.text)
	}
	require.Positive(g.t, end, g.text)
	name := g.text[:end]
	g.text = g.text[end:]
	return func(rng *rand.Rand) string { return g.rules[name](rng) }
}

// class reads [a-z] and [^a-z] with the escapes of llama.cpp.
func (g *gbnf) class() node {
	text := g.text[1:]
	negated := strings.HasPrefix(text, "^")
	text = strings.TrimPrefix(text, "^")
	var ranges [][2]rune
	one := func() rune {
		var r rune
		switch {
		case strings.HasPrefix(text, `\x`):
			n, err := strconv.ParseUint(text[2:4], 16, 8)
			require.NoError(g.t, err)
			r, text = rune(n), text[4:]
		case text[0] == '\\':
			r, text = rune(text[1]), text[2:]
		default:
			r, text = rune(text[0]), text[1:]
		}
		return r
	}
	for text[0] != ']' {
		from := one()
		to := from
		if text[0] == '-' {
			text = text[1:]
			to = one()
		}
		ranges = append(ranges, [2]rune{from, to})
	}
	g.text = text[1:]
	within := func(r rune) bool {
		for _, x := range ranges {
			if r >= x[0] && r <= x[1] {
				return true
			}
		}
		return false
	}
	return func(rng *rand.Rand) string {
		for { // most characters of any alphabet, the awkward ones often
			r := []rune{rune(rng.IntN(0x80)), rune(rng.IntN(0x300)), rune(rng.IntN(0xD800)), rune(0xE000 + rng.IntN(0x102000))}[rng.IntN(4)]
			if within(r) != negated {
				return string(r)
			}
		}
	}
}

func (g *gbnf) repeated(n node) node {
	if !strings.HasPrefix(g.text, "{") {
		return n
	}
	bounds, rest, found := strings.Cut(g.text[1:], "}")
	require.True(g.t, found)
	g.text = rest
	var least, most int
	_, err := fmt.Sscanf(bounds, "%d,%d", &least, &most)
	require.NoError(g.t, err)
	return func(rng *rand.Rand) string {
		var b strings.Builder
		for range []int{least, most, least + rng.IntN(most-least+1)}[rng.IntN(3)] {
			b.WriteString(n(rng))
		}
		return b.String()
	}
}
