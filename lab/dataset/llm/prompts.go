package llm

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/larkstream/larkstream/lab/dataset/rules"
)

//go:embed prompts
var builtIn embed.FS

// Families that language models are asked for.
func Families() []string { return []string{rules.Understanding, rules.Captioning, "reasoning"} }

// Shot is an example that is shown before the clip: what was known, and the reply.
type Shot struct {
	Metadata json.RawMessage `json:"metadata"`
	Pairs    []rules.Pair    `json:"pairs"`
}

// Prompts are the system texts, by family and collection.
type Prompts struct{ files fs.FS }

// OpenPrompts reads system texts from a folder, or the built-in ones where dir is empty. The folder holds FAMILY.txt, or FAMILY.COLLECTION.txt where a
// collection needs its own, whose first line is "revision: N" and in which {fields} stands for fields/COLLECTION.txt, else fields/default.txt. FAMILY.shots.json
// is a list of examples and may be missing.
func OpenPrompts(dir string) (*Prompts, error) {
	if dir != "" {
		return &Prompts{os.DirFS(dir)}, nil
	}
	files, err := fs.Sub(builtIn, "prompts")
	return &Prompts{files}, err
}

// Prompt is the system text of a family and a collection.
type Prompt struct {
	System   string `json:"system"`
	Revision int    `json:"revision"`
	Shots    []Shot `json:"shots,omitempty"`
	// Digest of all of it.
	Digest string `json:"digest"`
}

// For is the prompt of a family and a collection.
func (p *Prompts) For(family, collection string) (Prompt, error) {
	if !slices.Contains(Families(), family) {
		return Prompt{}, fmt.Errorf("family %.40q is not known: the families are %s", family, strings.Join(Families(), ", "))
	}
	text, err := p.first(family+"."+collection+".txt", family+".txt")
	if err != nil {
		return Prompt{}, err
	}
	head, system, _ := strings.Cut(text, "\n")
	number, found := strings.CutPrefix(head, "revision: ")
	revision, err := strconv.Atoi(strings.TrimSpace(number))
	if !found || err != nil {
		return Prompt{}, fmt.Errorf("the system text of %s begins with %.40q, want a line such as revision: 1", family, head)
	}
	fields, err := p.first("fields/"+collection+".txt", "fields/default.txt")
	if err != nil {
		return Prompt{}, err
	}
	out := Prompt{System: strings.ReplaceAll(strings.TrimSpace(system), "{fields}", strings.TrimSpace(fields)), Revision: revision}
	shots, err := fs.ReadFile(p.files, family+".shots.json")
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return Prompt{}, err
	default:
		if err := json.Unmarshal(shots, &out.Shots); err != nil {
			return Prompt{}, fmt.Errorf("reading %s.shots.json: %w", family, err)
		}
	}
	sum := sha256.Sum256([]byte(out.System + "\x00" + string(shots)))
	out.Digest = hex.EncodeToString(sum[:8])
	return out, nil
}

func (p *Prompts) first(names ...string) (string, error) {
	for _, n := range names {
		raw, err := fs.ReadFile(p.files, n)
		if err == nil {
			return string(raw), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("the prompts hold none of %s", strings.Join(names, ", "))
}
