package llama

import (
	"errors"
	"fmt"
	"math"
	"unsafe"
)

// VocabType is the kind of tokenizer (llama_vocab_type).
type VocabType int32

// Kinds of tokenizers.
const (
	VocabNone VocabType = 0 // no vocabulary in the file: only ids
	VocabSPM  VocabType = 1 // SentencePiece with byte fallback, as Llama 2
)

// Attributes of tokens (llama_token_attr), to be combined.
const (
	AttrUnknown     = 1 << 0
	AttrControl     = 1 << 3
	AttrUserDefined = 1 << 4
)

// maxText bounds the text to tokenize, in bytes.
const maxText = 1 << 24

// Vocab is a model's vocabulary. It may be used by several goroutines as long as the model is open.
type Vocab struct {
	lib  *Library
	c    uintptr
	kind VocabType
	size int
}

func newVocab(l *Library, c uintptr) *Vocab {
	return &Vocab{lib: l, c: c, kind: VocabType(l.c.vocabType(c)), size: int(l.c.vocabSize(c))}
}

// Type is the kind of tokenizer.
func (v *Vocab) Type() VocabType { return v.kind }

// Size is how many tokens there are.
func (v *Vocab) Size() int { return v.size }

// Special are the ids of the special tokens; NoToken stands for a token that is not there.
type Special struct {
	BOS, EOS, EOT, NL, PAD Token
	// AddBOS and AddEOS tell whether Tokenize adds them when asked for special tokens.
	AddBOS, AddEOS bool
}

// Special reads the special tokens.
func (v *Vocab) Special() Special {
	if v.c == 0 || v.kind == VocabNone {
		return Special{NoToken, NoToken, NoToken, NoToken, NoToken, false, false}
	}
	c := &v.lib.c
	return Special{
		BOS: c.vocabBOS(v.c), EOS: c.vocabEOS(v.c), EOT: c.vocabEOT(v.c), NL: c.vocabNL(v.c), PAD: c.vocabPAD(v.c),
		AddBOS: c.vocabAddBOS(v.c), AddEOS: c.vocabAddEOS(v.c),
	}
}

// check refuses what llama.cpp would abort on.
func (v *Vocab) check(token Token) error {
	switch {
	case v.c == 0:
		return ErrClosed
	case v.kind == VocabNone:
		return errors.New("the model has no vocabulary")
	case token < 0 || int(token) >= v.size:
		return fmt.Errorf("token %d is outside the vocabulary of %d", token, v.size)
	}
	return nil
}

// IsEnd tells whether the token ends an answer: the end of the sequence or of a turn.
func (v *Vocab) IsEnd(token Token) bool { return v.check(token) == nil && v.lib.c.vocabEOG(v.c, token) }

// IsControl tells whether the token has no text of its own.
func (v *Vocab) IsControl(token Token) bool {
	return v.check(token) == nil && v.lib.c.vocabControl(v.c, token)
}

// Entry is what the file says about a token.
type Entry struct {
	Text  string // as the tokenizer writes it: U+2581 for a space, <0x0A> for a byte
	Score float32
	Attr  int
}

// Entry reads what the file says about a token.
func (v *Vocab) Entry(token Token) (Entry, error) {
	if err := v.check(token); err != nil {
		return Entry{}, fmt.Errorf("reading vocabulary: %w", err)
	}
	c := &v.lib.c
	return Entry{Text: c.vocabText(v.c, token), Score: c.vocabScore(v.c, token), Attr: int(c.vocabAttr(v.c, token))}, nil
}

// Tokenize splits text into tokens. With special, BOS and EOS are added as the model wants them; with parse, the
// texts of special tokens in text become these tokens, else they are plain text.
func (v *Vocab) Tokenize(text string, special, parse bool) ([]Token, error) {
	if err := v.check(0); err != nil {
		return nil, fmt.Errorf("tokenizing: %w", err)
	}
	if len(text) > maxText {
		return nil, fmt.Errorf("tokenizing: %d bytes are more than %d", len(text), maxText)
	}
	start := unsafe.StringData(text + "\x00") // not nil for an empty text either
	tokens := make([]Token, len(text)+2)
	n := v.lib.c.tokenize(v.c, start, int32(len(text)), &tokens[0], int32(len(tokens)), special, parse)
	if n < 0 && n != math.MinInt32 {
		tokens = make([]Token, -n)
		n = v.lib.c.tokenize(v.c, start, int32(len(text)), &tokens[0], int32(len(tokens)), special, parse)
	}
	if n < 0 {
		return nil, fmt.Errorf("tokenizing: llama_tokenize returned %d", n)
	}
	return tokens[:n], nil
}

// Piece is the text of one token within a longer text: bytes that need not be whole characters. Special tokens have
// text only with special.
func (v *Vocab) Piece(token Token, special bool) ([]byte, error) {
	if err := v.check(token); err != nil {
		return nil, fmt.Errorf("reading piece: %w", err)
	}
	buf := make([]byte, 64)
	n := v.lib.c.piece(v.c, token, &buf[0], int32(len(buf)), 0, special)
	if n < 0 {
		buf = make([]byte, -n)
		n = v.lib.c.piece(v.c, token, &buf[0], int32(len(buf)), 0, special)
	}
	if n < 0 {
		return nil, fmt.Errorf("reading piece: llama_token_to_piece returned %d", n)
	}
	return buf[:n], nil
}

// Detokenize is the text of the tokens. With remove, BOS and EOS are left out; with unparse, special tokens have text.
func (v *Vocab) Detokenize(tokens []Token, remove, unparse bool) (string, error) {
	for _, t := range tokens {
		if err := v.check(t); err != nil {
			return "", fmt.Errorf("joining tokens: %w", err)
		}
	}
	if len(tokens) == 0 {
		return "", nil
	}
	buf := make([]byte, 8*len(tokens)+64)
	n := v.lib.c.detokenize(v.c, &tokens[0], int32(len(tokens)), &buf[0], int32(len(buf)), remove, unparse)
	if n < 0 {
		buf = make([]byte, -n)
		n = v.lib.c.detokenize(v.c, &tokens[0], int32(len(tokens)), &buf[0], int32(len(buf)), remove, unparse)
	}
	if n < 0 {
		return "", fmt.Errorf("joining tokens: llama_detokenize returned %d", n)
	}
	return string(buf[:n]), nil
}
