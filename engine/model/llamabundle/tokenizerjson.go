package llamabundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// tokenizerJSON is tokenizer.json of Hugging Face's tokenizers library, as far as it matters.
type tokenizerJSON struct {
	Model struct {
		Type         string          `json:"type"`
		ByteFallback bool            `json:"byte_fallback"`
		Vocab        map[string]int  `json:"vocab"`
		Merges       json.RawMessage `json:"merges"`
	} `json:"model"`
	Normalizer   *step `json:"normalizer"`
	PreTokenizer *step `json:"pre_tokenizer"`
}

// parseTokenizerJSON reads tokenizer.json of a tokenizer that was made of a SentencePiece model, as Llama-2's. Such a file lists, in the order of
// their scores, all pairs whose joined text is a piece; so the scores can be had back, and pieces are joined as before.
func parseTokenizerJSON(raw []byte) (*vocab, error) {
	var file tokenizerJSON
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, fmt.Errorf("parsing: %w", err)
	}
	m := file.Model
	if m.Type != "BPE" || !m.ByteFallback {
		return nil, fmt.Errorf("its model is %q with byte_fallback %v, where BPE with byte_fallback is expected, as in Llama-2: %s", m.Type, m.ByteFallback, ready)
	}
	prefix, err := file.spaces()
	if err != nil {
		return nil, err
	}
	v, err := fromIDs(m.Vocab)
	if err != nil {
		return nil, err
	}
	v.noPrefix = !prefix
	for name, id := range map[string]*int{"<unk>": &v.unk, "<s>": &v.bos, "</s>": &v.eos} {
		if at, ok := v.ids[name]; ok {
			*id, v.kinds[at] = at, control
		}
	}
	if v.unk >= 0 {
		v.kinds[v.unk] = unknown
	}
	merges, err := parseMerges(m.Merges)
	if err != nil {
		return nil, err
	}
	return v, errors.Join(v.checkBytes(), v.score(merges))
}

// ready is the way out for what is not read here.
const ready = "convert the model with llama.cpp's convert_hf_to_gguf.py and import it with --gguf"

// step is a normalizer or pre-tokenizer, or a sequence of normalizers.
type step struct {
	Type        string          `json:"type"`
	Prepend     string          `json:"prepend"`
	Content     string          `json:"content"`
	Pattern     json.RawMessage `json:"pattern"`
	Scheme      string          `json:"prepend_scheme"`
	Add         *bool           `json:"add_prefix_space"`
	Normalizers []step          `json:"normalizers"`
}

// spacePattern tells whether a step replaces single spaces, however the file is laid out.
func (s step) spacePattern() bool {
	var compact bytes.Buffer
	return json.Compact(&compact, s.Pattern) == nil && compact.String() == `{"String":" "}`
}

// spaces demands that spaces become ▁ and nothing else changes, and tells whether one is put before a text. Llama-2's files have
// a sequence of normalizers, or the pre-tokenizer Metaspace.
func (f *tokenizerJSON) spaces() (prefix bool, err error) {
	replaced := false
	for _, s := range f.Normalizer.steps() {
		switch {
		case s.Type == "Prepend" && s.Prepend == space:
			prefix = true
		case s.Type == "Replace" && s.Content == space && s.spacePattern():
			replaced = true
		default:
			return false, fmt.Errorf("its normalizer has a step %q, which Llama-2's has not: %s", s.Type, ready)
		}
	}
	if s := f.PreTokenizer; s != nil && s.Type == "Metaspace" {
		replaced, prefix = true, prefix || (s.Scheme != "never" && (s.Add == nil || *s.Add))
	} else if s != nil {
		return false, fmt.Errorf("its pre-tokenizer is %q, which Llama-2 has not: %s", s.Type, ready)
	}
	if !replaced {
		return false, fmt.Errorf("it does not turn spaces into %s as Llama-2's does: %s", space, ready)
	}
	return prefix, nil
}

func (s *step) steps() []step {
	switch {
	case s == nil:
		return nil
	case s.Type == "Sequence":
		return s.Normalizers
	}
	return []step{*s}
}

// fromIDs makes a vocabulary of pieces with their ids, which must be 0, 1, 2, ...
func fromIDs(ids map[string]int) (*vocab, error) {
	if len(ids) > maxVocab {
		return nil, fmt.Errorf("it has %d pieces, where at most %d are read", len(ids), maxVocab)
	}
	texts := make([]string, len(ids))
	for text, id := range ids {
		if id < 0 || id >= len(texts) || texts[id] != "" || text == "" {
			return nil, fmt.Errorf("the %d pieces are not numbered from 0: %q is %d", len(texts), text, id)
		}
		texts[id] = text
	}
	v := newVocab()
	for _, text := range texts {
		kind := int32(normal)
		if len(text) == 6 && strings.HasPrefix(text, "<0x") && strings.HasSuffix(text, ">") {
			kind = byteToken
		}
		if err := v.add(text, 0, kind); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// parseMerges reads pairs, written as "a b" or ["a", "b"].
func parseMerges(raw json.RawMessage) ([][2]string, error) {
	var parts [][]string
	if json.Unmarshal(raw, &parts) != nil {
		var texts []string
		if err := json.Unmarshal(raw, &texts); err != nil {
			return nil, fmt.Errorf("parsing the merges: %w", err)
		}
		parts = nil
		for _, text := range texts {
			parts = append(parts, strings.SplitN(text, " ", 2))
		}
	}
	pairs := make([][2]string, len(parts))
	for i, p := range parts {
		if len(p) != 2 {
			return nil, fmt.Errorf("merge %d %q is no pair", i, p)
		}
		pairs[i] = [2]string(p)
	}
	return pairs, nil
}

// score gives scores to pieces: -1, -2, ... in the order in which merges make them, one score for pieces whose merges are mixed,
// as pieces of equal score are. It demands that every pair whose joined text is a piece is a merge: llama.cpp would join them.
func (v *vocab) score(merges [][2]string) error {
	last, known := map[string]int{}, map[[2]string]bool{}
	for i, pair := range merges {
		piece := pair[0] + pair[1]
		if id, ok := v.ids[piece]; !ok || v.kinds[id] != normal || known[pair] {
			return fmt.Errorf("merge %d of %q and %q makes no piece, or occurs twice", i, pair[0], pair[1])
		}
		last[piece], known[pair] = i, true
	}
	score, end := float32(0), -1 // end is the end of the pieces with this score
	for i, pair := range merges {
		piece := pair[0] + pair[1]
		if i > end {
			score--
		}
		end = max(end, last[piece])
		v.scores[v.ids[piece]] = score
	}
	for _, piece := range v.tokens {
		for at := range piece {
			pair := [2]string{piece[:at], piece[at:]}
			if at > 0 && v.isNormal(piece) && v.isNormal(pair[0]) && v.isNormal(pair[1]) && !known[pair] {
				return fmt.Errorf("%q and %q make a piece but are no merge: it was not made of a SentencePiece model; %s", pair[0], pair[1], ready)
			}
		}
		if utf8.RuneCountInString(piece) == 1 {
			v.scores[v.ids[piece]] = score - 1 // never made
		}
	}
	return nil
}

func (v *vocab) isNormal(piece string) bool {
	id, ok := v.ids[piece]
	return ok && v.kinds[id] == normal
}
