package llamabundle

import (
	"errors"
	"fmt"

	"github.com/larkstream/larkstream/engine/model/gguf"
)

// Kinds of tokens, numbered as in llama.h (llama_token_type).
const (
	normal      = 1
	unknown     = 2
	control     = 3 // never the result of a user's text
	userDefined = 4
	unused      = 5
	byteToken   = 6
)

// LLark's own tokens. The rows of AudioPatch are replaced by frames; it is never looked up.
const (
	AudioStart = "<audio_start>"
	AudioEnd   = "<audio_end>"
	AudioPatch = "<audio_patch>"
	padding    = "[PAD]"
)

// vocab is a vocabulary as llama.cpp's SentencePiece tokenizer takes it: pairs of neighbours whose joined text is a token are
// joined, the pair of the highest score first.
type vocab struct {
	tokens []string
	scores []float32
	kinds  []int32
	ids    map[string]int
	// bos, eos, unk and pad are ids, or -1.
	bos, eos, unk, pad int
	// noPrefix tells that no space is put before a text.
	noPrefix bool
}

func newVocab() *vocab { return &vocab{ids: map[string]int{}, bos: -1, eos: -1, unk: -1, pad: -1} }

// add appends a token. llama.cpp ends the process over a text that occurs twice, and replaces an empty one.
func (v *vocab) add(token string, score float32, kind int32) error {
	if first, twice := v.ids[token]; twice || token == "" {
		return fmt.Errorf("tokens %d and %d are both %q", first, len(v.tokens), token)
	}
	if len(token) > maxToken {
		return fmt.Errorf("token %d has %d bytes, where at most %d are expected", len(v.tokens), len(token), maxToken)
	}
	v.ids[token] = len(v.tokens)
	v.tokens, v.scores, v.kinds = append(v.tokens, token), append(v.scores, score), append(v.kinds, kind)
	return nil
}

const maxToken = 512 // bytes

// fill adds unused tokens until the vocabulary has as many as the model has rows.
func (v *vocab) fill(rows int) error {
	if len(v.tokens) > rows {
		return fmt.Errorf("the tokenizer has %d tokens, but the model's table of embeddings %d rows: they do not belong together", len(v.tokens), rows)
	}
	var faults []error
	for id := len(v.tokens); id < rows; id++ {
		faults = append(faults, v.add(fmt.Sprintf("[PAD%d]", id), -1000, unused))
	}
	return errors.Join(faults...)
}

// audio tells whether the vocabulary has the tokens that LLark puts around frames.
func (v *vocab) audio() bool {
	_, start := v.ids[AudioStart]
	_, end := v.ids[AudioEnd]
	return start && end
}

func (v *vocab) meta() []gguf.KV {
	meta := []gguf.KV{
		{Key: "tokenizer.ggml.model", Value: "llama"},
		{Key: "tokenizer.ggml.pre", Value: "default"},
		{Key: "tokenizer.ggml.tokens", Value: v.tokens},
		{Key: "tokenizer.ggml.scores", Value: v.scores},
		{Key: "tokenizer.ggml.token_type", Value: v.kinds},
		{Key: "tokenizer.ggml.add_bos_token", Value: v.bos >= 0},
		{Key: "tokenizer.ggml.add_eos_token", Value: false},
		{Key: "tokenizer.ggml.add_space_prefix", Value: !v.noPrefix},
	}
	for _, special := range []struct {
		key string
		id  int
	}{{"bos", v.bos}, {"eos", v.eos}, {"unknown", v.unk}, {"padding", v.pad}} {
		if special.id >= 0 {
			meta = append(meta, gguf.KV{Key: "tokenizer.ggml." + special.key + "_token_id", Value: uint32(special.id)})
		}
	}
	return meta
}

// synthetic makes up a vocabulary of the given size: Llama-2's unknown, begin and end, a token for each byte, letters and digits,
// pairs and triples of letters, and LLark's own tokens at the end.
func synthetic(size int) (*vocab, error) {
	v := newVocab()
	extra := []string{padding, AudioPatch, AudioStart, AudioEnd}
	chars := syntheticChars()
	if least := 3 + 256 + len(chars) + len(extra); size < least {
		return nil, fmt.Errorf("a vocabulary of %d is too small: at least %d are needed", size, least)
	}
	v.special()
	for b := range 256 {
		if err := v.add(byteName(byte(b)), 0, byteToken); err != nil {
			return nil, err
		}
	}
	words := syntheticWords(size - len(extra) - len(chars) - len(v.tokens))
	for _, text := range append(words, chars...) {
		if err := v.add(text, -float32(len(v.tokens)-259), normal); err != nil {
			return nil, err
		}
	}
	if err := v.fill(size - len(extra)); err != nil {
		return nil, err
	}
	v.pad = len(v.tokens)
	for _, text := range extra {
		if err := v.add(text, -1000, control); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// special adds Llama-2's first three tokens.
func (v *vocab) special() {
	v.unk, v.bos, v.eos = 0, 1, 2
	v.ids = map[string]int{"<unk>": 0, "<s>": 1, "</s>": 2}
	v.tokens, v.scores, v.kinds = []string{"<unk>", "<s>", "</s>"}, []float32{0, 0, 0}, []int32{unknown, control, control}
}

func byteName(b byte) string { return fmt.Sprintf("<0x%02X>", b) }

const letters = "etaoinshrdlucmfwypvbgkqjxz"

func syntheticChars() []string {
	chars := []string{space}
	for _, c := range letters + "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?'#-" {
		chars = append(chars, string(c))
	}
	return chars
}

// space stands for U+0020 in pieces.
const space = "▁"

// syntheticWords lists at most n pieces. Each piece is a shorter piece with one letter more.
func syntheticWords(n int) []string {
	words, last := []string{}, []string{""}
	for len(words) < n && len(last[0]) < 3 {
		var next []string
		for _, start := range last {
			for _, c := range letters {
				next = append(next, start+string(c))
			}
		}
		for _, w := range next {
			words = append(words, space+w)
			if len(w) > 1 {
				words = append(words, w)
			}
		}
		last = next
	}
	return words[:min(n, len(words))]
}
