// Package tokenizer turns text into token ids and back by greedy longest match with byte fallback, as
// docs/lark-nano.md section 7 defines it. User text can never become a special token.
package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	maxFile   = 64 << 20 // bytes of tokenizer.json
	maxVocab  = 1 << 20
	maxPiece  = 256 // bytes of one piece
	marker    = "▁" // U+2581 stands for the space before a word
	asciiRoom = "\t\n\v\f\r "
)

// Tokenizer is read-only and may be used by several goroutines.
type Tokenizer struct {
	lower   bool
	vocab   []string
	special map[string]int // name -> id
	hidden  map[int]bool   // ids of special tokens
	pieces  map[string]int // ordinary pieces
	longest int            // bytes of the longest ordinary piece
	byteID  [256]int
	idByte  map[int]byte
}

type file struct {
	Type      string         `json:"type"`
	Lowercase bool           `json:"lowercase"`
	Special   map[string]int `json:"special"`
	Vocab     []string       `json:"vocab"`
}

// Open reads tokenizer.json.
func Open(path string) (*Tokenizer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening tokenizer: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading tokenizer %s: %w", path, err)
	}
	t, err := Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("reading tokenizer %s: %w", path, err)
	}
	return t, nil
}

// Parse reads the content of tokenizer.json and checks it: every byte has its token, special tokens are where they are
// said to be, and no ordinary piece occurs twice.
func Parse(raw []byte) (*Tokenizer, error) {
	if len(raw) > maxFile {
		return nil, fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	var f file
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("parsing: %w", err)
	}
	if f.Type != "greedy" {
		return nil, fmt.Errorf("type %q is unknown, where greedy is expected", f.Type)
	}
	if len(f.Vocab) > maxVocab {
		return nil, fmt.Errorf("%d pieces are too many", len(f.Vocab))
	}
	t := &Tokenizer{
		lower: f.Lowercase, vocab: f.Vocab, special: f.Special,
		hidden: map[int]bool{}, pieces: map[string]int{}, idByte: map[int]byte{},
	}
	return t, errors.Join(t.indexSpecial(), t.indexPieces())
}

func (t *Tokenizer) indexSpecial() error {
	for name, id := range t.special {
		if id < 0 || id >= len(t.vocab) || t.vocab[id] != name || name == "" {
			return fmt.Errorf("special token %q is not at %d", name, id)
		}
		t.hidden[id] = true
	}
	return nil
}

func (t *Tokenizer) indexPieces() error {
	names := map[string]byte{}
	for b := range 256 {
		names[fmt.Sprintf("<0x%02X>", b)] = byte(b)
	}
	for id, piece := range t.vocab {
		if t.hidden[id] {
			continue
		}
		if b, ok := names[piece]; ok { // only the first of that spelling is the byte token
			t.byteID[b], t.idByte[id] = id, b
			delete(names, piece)
			continue
		}
		if _, twice := t.pieces[piece]; twice || piece == "" || len(piece) > maxPiece {
			return fmt.Errorf("piece %d %.40q is empty, too long or occurs twice", id, piece)
		}
		t.pieces[piece] = id
		t.longest = max(t.longest, len(piece))
	}
	if len(names) > 0 {
		return fmt.Errorf("%d byte tokens are missing", len(names))
	}
	return nil
}

// Size is the number of ids.
func (t *Tokenizer) Size() int { return len(t.vocab) }

// Normalize prepares the text of a question: a tokenizer without capitals makes them small.
func (t *Tokenizer) Normalize(question string) string {
	if t.lower {
		return lowerASCII(question)
	}
	return question
}

// Stops are the tokens that end every answer: none, a bundle names its own.
func (t *Tokenizer) Stops() []int { return nil }

// SpecialAt gives the longest special token that text begins with, and the length of its name; 0 if there is none.
func (t *Tokenizer) SpecialAt(text string) (id, size int) {
	for name, nameID := range t.special {
		if len(name) > size && strings.HasPrefix(text, name) {
			id, size = nameID, len(name)
		}
	}
	return id, size
}

// Plain turns text into ids. Every byte string is valid, and no special token comes out.
func (t *Tokenizer) Plain(text string) ([]int, error) {
	words := strings.FieldsFunc(text, func(r rune) bool { return r < 128 && strings.ContainsRune(asciiRoom, r) })
	var joined strings.Builder
	for _, w := range words {
		joined.WriteString(marker + w)
	}
	var ids []int
	for rest := joined.String(); len(rest) > 0; {
		id, size := t.longestPiece(rest)
		ids = append(ids, id)
		rest = rest[size:]
	}
	return ids, nil
}

// Piece gives the bytes of a token, none of a special one. An id outside the vocabulary is an error.
func (t *Tokenizer) Piece(id int) ([]byte, error) {
	if id < 0 || id >= len(t.vocab) {
		return nil, fmt.Errorf("decoding token %d: the vocabulary has %d", id, len(t.vocab))
	}
	if t.hidden[id] {
		return nil, nil
	}
	if b, ok := t.idByte[id]; ok {
		return []byte{b}, nil
	}
	return []byte(t.vocab[id]), nil
}

// longestPiece gives the longest ordinary piece that text begins with, else the token of its first byte.
func (t *Tokenizer) longestPiece(text string) (id, size int) {
	for size := min(t.longest, len(text)); size > 0; size-- {
		if id, ok := t.pieces[text[:size]]; ok {
			return id, size
		}
	}
	return t.byteID[text[0]], 1
}

func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
