package llama

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"unsafe"
)

// tokenData is llama_token_data.
type tokenData struct {
	id    int32
	logit float32
	_     float32 // p, the probability
}

// candidates is llama_token_data_array.
type candidates struct {
	data     *tokenData
	size     uintptr
	selected int64
	_        bool // sorted
}

// The sizes in bytes on 64-bit platforms. A difference does not compile.
var (
	_ [12]byte = [unsafe.Sizeof(tokenData{})]byte{}
	_ [32]byte = [unsafe.Sizeof(candidates{})]byte{}
)

// apply runs a sampler over candidates that C may reorder. It returns how many are left and which was selected, -1 for none.
func (l *Library) apply(sampler uintptr, data []tokenData) (left, selected int) {
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&data[0])
	array := &candidates{data: &data[0], size: uintptr(len(data)), selected: -1}
	pin.Pin(array)
	l.c.samplerApply(sampler, array)
	return int(array.size), int(array.selected)
}

// Grammar follows a GBNF grammar token by token. It is for one goroutine at a time.
type Grammar struct {
	vocab   *Vocab
	c       uintptr
	scratch []tokenData
}

// NewGrammar parses a grammar in GBNF whose answers start at the rule root.
func (v *Vocab) NewGrammar(grammar, root string) (*Grammar, error) {
	if err := v.check(0); err != nil {
		return nil, fmt.Errorf("parsing grammar: %w", err)
	}
	if strings.TrimSpace(grammar) == "" || root == "" || strings.ContainsRune(grammar+root, 0) {
		return nil, errors.New("parsing grammar: it is empty or has a NUL byte")
	}
	var c uintptr
	reason := v.lib.native.Explain(func() bool {
		c = v.lib.c.samplerGrammar(v.c, grammar, root)
		return c != 0
	})
	if c == 0 {
		return nil, fmt.Errorf("parsing grammar: %s", orUnknown(reason))
	}
	return &Grammar{vocab: v, c: c}, nil
}

// Close frees the grammar.
func (g *Grammar) Close() {
	if g.c != 0 {
		g.vocab.lib.c.samplerFree(g.c)
		g.c = 0
	}
}

// Reset goes back to the start.
func (g *Grammar) Reset() {
	if g.c != 0 {
		g.vocab.lib.c.samplerReset(g.c)
	}
}

// Allows tells whether the token may come next.
func (g *Grammar) Allows(token Token) bool {
	if g.c == 0 || g.vocab.check(token) != nil {
		return false
	}
	data := []tokenData{{id: token, logit: 1}}
	g.vocab.lib.apply(g.c, data)
	return !math.IsInf(float64(data[0].logit), -1)
}

// Mask sets the logits of all tokens that may not come next to minus infinity. It looks at every token of the
// vocabulary that is not excluded already; asking Allows for the likeliest token first is much cheaper.
func (g *Grammar) Mask(logits []float32) error {
	if g.c == 0 {
		return fmt.Errorf("applying grammar: %w", ErrClosed)
	}
	if len(logits) != g.vocab.size {
		return fmt.Errorf("applying grammar: %d logits for a vocabulary of %d", len(logits), g.vocab.size)
	}
	if cap(g.scratch) < len(logits) {
		g.scratch = make([]tokenData, len(logits))
	}
	data := g.scratch[:0]
	for id, v := range logits {
		if !math.IsInf(float64(v), -1) {
			data = append(data, tokenData{id: int32(id), logit: v})
		}
	}
	if len(data) == 0 {
		return nil
	}
	left, _ := g.vocab.lib.apply(g.c, data)
	for _, d := range data[:left] {
		logits[d.id] = d.logit
	}
	return nil
}

// Accept goes on by a token that Allows allows.
func (g *Grammar) Accept(token Token) error {
	if !g.Allows(token) {
		return fmt.Errorf("following grammar: token %d may not come next", token)
	}
	g.vocab.lib.c.samplerAccept(g.c, token)
	return nil
}
