package llamabundle

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// readVocab reads the tokenizer of a Hugging Face folder, with the tokens that were added to it, for a model of the given
// number of rows. Rows beyond all tokens get names and are never used.
func readVocab(dir string, rows int) (*vocab, error) {
	v, path, err := readTokenizer(dir)
	if err != nil {
		return nil, err
	}
	added, err := readAdded(dir)
	if err != nil {
		return nil, err
	}
	if err := v.extend(added, rows); err != nil {
		return nil, fmt.Errorf("checking %s: %w", path, err)
	}
	return v, nil
}

func readTokenizer(dir string) (v *vocab, path string, err error) {
	for _, kind := range []struct {
		file  string
		parse func([]byte) (*vocab, error)
	}{{"tokenizer.model", parseSentencePiece}, {"tokenizer.json", parseTokenizerJSON}} {
		path = filepath.Join(dir, kind.file)
		raw, err := readFile(path, maxTokenizer)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			v, err = kind.parse(raw)
		}
		if err != nil {
			return nil, path, fmt.Errorf("reading the tokenizer %s: %w", path, err)
		}
		return v, path, nil
	}
	return nil, path, fmt.Errorf("%s has neither tokenizer.model nor tokenizer.json", dir)
}

// added is a token that was added to a tokenizer.
type added struct {
	text    string
	special bool
}

// readAdded collects added tokens from the files that may list them; they must agree.
func readAdded(dir string) (map[int]added, error) {
	all := map[int]added{}
	add := func(id int, text string, special bool) error {
		if first, ok := all[id]; ok && first.text != text {
			return fmt.Errorf("reading the added tokens of %s: token %d is %q in one file and %q in another", dir, id, first.text, text)
		}
		all[id] = added{text, all[id].special || special}
		return nil
	}
	var byText map[string]int
	var settings struct {
		Added map[string]struct {
			Content string `json:"content"`
			Special bool   `json:"special"`
		} `json:"added_tokens_decoder"`
	}
	var file struct {
		Added []struct {
			ID      int    `json:"id"`
			Content string `json:"content"`
			Special bool   `json:"special"`
		} `json:"added_tokens"`
	}
	_, err1 := readJSON(dir, "added_tokens.json", maxConfig, &byText)
	_, err2 := readJSON(dir, "tokenizer_config.json", maxTokenizer, &settings)
	_, err3 := readJSON(dir, "tokenizer.json", maxTokenizer, &file)
	faults := []error{err1, err2, err3}
	for text, id := range byText {
		faults = append(faults, add(id, text, looksSpecial(text)))
	}
	for key, t := range settings.Added {
		id, err := strconv.Atoi(key)
		faults = append(faults, err, add(id, t.Content, t.Special))
	}
	for _, t := range file.Added {
		faults = append(faults, add(t.ID, t.Content, t.Special))
	}
	return all, errors.Join(faults...)
}

// looksSpecial tells by its text whether a token marks something: added_tokens.json does not say.
func looksSpecial(text string) bool {
	return (strings.HasPrefix(text, "<") && strings.HasSuffix(text, ">")) || (strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]"))
}

// extend puts added tokens at their ids and fills the vocabulary up to the number of rows.
func (v *vocab) extend(extra map[int]added, rows int) error {
	for _, id := range slices.Sorted(maps.Keys(extra)) {
		t := extra[id]
		kind := int32(userDefined)
		if t.special {
			kind = control
		}
		switch {
		case id < 0 || id >= rows:
			return fmt.Errorf("the added token %q is %d, but the model has %d rows: they do not belong together", t.text, id, rows)
		case id >= len(v.tokens):
			if err := errors.Join(v.fill(id), v.add(t.text, -1000, kind)); err != nil {
				return err
			}
		case v.tokens[id] != t.text:
			return fmt.Errorf("the added token %d is %q, but the tokenizer has %q there", id, t.text, v.tokens[id])
		case v.kinds[id] == normal:
			v.kinds[id] = kind
		}
	}
	if id, ok := v.ids[padding]; ok {
		v.pad = id
	}
	return v.fill(rows)
}
