package audiobundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/engine/model/gguf"
)

// Kinds of tokens (llama.h: llama_token_type).
const (
	normal      = 1
	control     = 3
	userDefined = 4
	unused      = 5
)

const (
	maxJSON  = 64 << 20 // bytes of a file
	maxVocab = 1 << 20
)

// vocabulary is a byte-level BPE with added tokens, as Qwen2's.
type vocabulary struct {
	tokens []string
	kinds  []int32
	merges []string
}

func (v vocabulary) id(token string) int { return slices.Index(v.tokens, token) }

func (v vocabulary) meta() []gguf.KV {
	meta := []gguf.KV{
		{Key: "tokenizer.ggml.model", Value: "gpt2"},
		{Key: "tokenizer.ggml.pre", Value: "qwen2"},
		{Key: "tokenizer.ggml.tokens", Value: v.tokens},
		{Key: "tokenizer.ggml.token_type", Value: v.kinds},
		{Key: "tokenizer.ggml.merges", Value: v.merges},
		{Key: "tokenizer.ggml.add_bos_token", Value: false},
	}
	for key, token := range map[string]string{"eos": "<|im_end|>", "padding": "<|endoftext|>"} {
		if id := v.id(token); id >= 0 {
			meta = append(meta, gguf.KV{Key: "tokenizer.ggml." + key + "_token_id", Value: uint32(id)})
		}
	}
	slices.SortFunc(meta, func(a, b gguf.KV) int { return strings.Compare(a.Key, b.Key) })
	return meta
}

// added is a token beside the pieces, as tokenizer.json and tokenizer_config.json list them.
type added struct {
	ID      int    `json:"id"`
	Content string `json:"content"`
	Special bool   `json:"special"`
}

// readVocabulary reads vocab.json and merges.txt, or tokenizer.json, and the added tokens, for a table of embeddings of so many rows. Rows beyond all
// tokens get names such as [PAD151700].
func readVocabulary(dir string, rows int) (v vocabulary, err error) {
	var file struct {
		Added []added `json:"added_tokens"`
		Model struct {
			Type   string          `json:"type"`
			Vocab  map[string]int  `json:"vocab"`
			Merges json.RawMessage `json:"merges"`
		} `json:"model"`
	}
	found, err := readJSON(dir, "tokenizer.json", &file)
	if err != nil {
		return v, err
	}
	pieces := file.Model.Vocab
	if found {
		if file.Model.Type != "BPE" {
			return v, fmt.Errorf("checking tokenizer.json of %s: its model is %q, where BPE is expected", dir, file.Model.Type)
		}
		v.merges, err = parseMerges(file.Model.Merges)
	} else {
		pieces, v.merges, err = readPieces(dir)
	}
	if err != nil {
		return v, fmt.Errorf("reading the tokenizer of %s: %w", dir, err)
	}
	extra, err := readAdded(dir, file.Added)
	if err != nil {
		return v, err
	}
	return v, v.fill(pieces, extra, rows)
}

// readPieces reads the two files of slow tokenizers.
func readPieces(dir string) (pieces map[string]int, merges []string, err error) {
	found, err := readJSON(dir, "vocab.json", &pieces)
	if err == nil && !found {
		err = errors.New("it has neither tokenizer.json nor vocab.json")
	}
	if err != nil {
		return nil, nil, err
	}
	raw, err := readFile(filepath.Join(dir, "merges.txt"))
	if err != nil {
		return nil, nil, err
	}
	for i, line := range strings.Split(string(raw), "\n") {
		line = strings.TrimRight(line, "\r")
		if line == "" || i == 0 && strings.HasPrefix(line, "#version") {
			continue
		}
		merges = append(merges, line)
	}
	return pieces, merges, nil
}

// readAdded joins the added tokens of tokenizer.json with those of tokenizer_config.json.
func readAdded(dir string, list []added) (map[int]added, error) {
	var config struct {
		Decoder map[string]added `json:"added_tokens_decoder"`
	}
	if _, err := readJSON(dir, "tokenizer_config.json", &config); err != nil {
		return nil, err
	}
	all := map[int]added{}
	for _, t := range list {
		all[t.ID] = t
	}
	for key, t := range config.Decoder {
		if _, err := fmt.Sscanf(key, "%d", &t.ID); err != nil {
			return nil, fmt.Errorf("checking tokenizer_config.json of %s: added token %q has no number", dir, key)
		}
		if first, twice := all[t.ID]; twice && first.Content != t.Content {
			return nil, fmt.Errorf("checking tokenizer_config.json of %s: token %d is %q, but %q in tokenizer.json", dir, t.ID, t.Content, first.Content)
		}
		all[t.ID] = t
	}
	return all, nil
}

// parseMerges reads pairs, written as "a b" or ["a", "b"].
func parseMerges(raw json.RawMessage) ([]string, error) {
	var texts []string
	if json.Unmarshal(raw, &texts) == nil {
		return texts, nil
	}
	var pairs [][]string
	if err := json.Unmarshal(raw, &pairs); err != nil {
		return nil, fmt.Errorf("parsing the merges: %w", err)
	}
	texts = nil // what the first attempt left
	for i, p := range pairs {
		if len(p) != 2 {
			return nil, fmt.Errorf("merge %d %q is no pair", i, p)
		}
		texts = append(texts, p[0]+" "+p[1])
	}
	return texts, nil
}

// fill gives every row a token.
func (v *vocabulary) fill(pieces map[string]int, extra map[int]added, rows int) error {
	if rows > maxVocab {
		return fmt.Errorf("a vocabulary of %d is out of range", rows)
	}
	v.tokens, v.kinds = make([]string, rows), make([]int32, rows)
	put := func(id int, text string, kind int32) error {
		switch {
		case id < 0 || id >= rows:
			return fmt.Errorf("the token %q is %d, but the model has %d rows: tokenizer and weights do not belong together", text, id, rows)
		case text == "" || v.tokens[id] != "" && v.tokens[id] != text:
			return fmt.Errorf("token %d is %q and %q", id, v.tokens[id], text)
		}
		v.tokens[id], v.kinds[id] = text, kind
		return nil
	}
	for text, id := range pieces {
		if err := put(id, text, normal); err != nil {
			return err
		}
	}
	for id, t := range extra {
		kind := int32(userDefined)
		if t.Special {
			kind = control
		}
		if err := put(id, t.Content, kind); err != nil {
			return err
		}
	}
	seen := map[string]int{}
	for id := range v.tokens {
		if v.tokens[id] == "" {
			v.tokens[id], v.kinds[id] = fmt.Sprintf("[PAD%d]", id), unused
		}
		if first, twice := seen[v.tokens[id]]; twice {
			return fmt.Errorf("tokens %d and %d are both %q", first, id, v.tokens[id])
		}
		seen[v.tokens[id]] = id
	}
	return nil
}

// readJSON reads a file of dir into v, and tells whether there is one.
func readJSON(dir, name string, v any) (bool, error) {
	raw, err := readFile(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		return true, fmt.Errorf("reading %s: %w", filepath.Join(dir, name), err)
	}
	return true, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxJSON+1))
	if err == nil && len(raw) > maxJSON {
		err = fmt.Errorf("it is larger than %d bytes", maxJSON)
	}
	return raw, err
}
