package dataset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/larkstream/larkstream/lab/dataset/check"
	"github.com/larkstream/larkstream/lab/dataset/llm"
	"github.com/larkstream/larkstream/lab/dataset/rules"
)

// Makers of pairs, as the names of files have them.
const (
	makerRules = "rules"
	makerLLM   = "llm"
)

// Checked is a pair and, if it is rejected, why.
type Checked struct {
	rules.Pair

	Rejected *check.Fault `json:"rejected,omitempty"`
}

// pairRow is a row of pairs.FAMILY.MAKER.jsonl.
type pairRow struct {
	outcome

	Pairs []Checked `json:"pairs,omitempty"`
	// Asked is the metadata that the language model was given, Replies what it said in each try; with tokens and cost of all tries. Rules leave them empty.
	Asked   json.RawMessage `json:"asked,omitempty"`
	Prompt  string          `json:"prompt,omitempty"`
	Replies []llm.Reply     `json:"replies,omitempty"`
	Cost    float64         `json:"cost,omitempty"`
}

// GenerateConfig says what makes pairs.
type GenerateConfig struct {
	RunOptions

	Families []string
	// Seed and Wordings are for rules; Wordings is a JSON object in place of the built-in one, nil = that.
	Seed     uint64
	Wordings json.RawMessage
	// LLM asks a language model instead; nil = rules.
	LLM *LLMConfig
}

// LLMConfig is a language model and what it may cost.
type LLMConfig struct {
	llm.Config

	// Prompts is a folder of system texts; empty = the built-in ones.
	Prompts string
	Price   llm.Price
	// MaxCost ends the run before more is spent, over all families and runs of the set; 0 = no bound.
	MaxCost float64
}

// Generated is what Generate did.
type Generated struct {
	Tally

	// Accepted and Rejected count pairs; Faults are the rejected ones by kind.
	Accepted int            `json:"accepted"`
	Rejected int            `json:"rejected"`
	Faults   map[string]int `json:"faults"`
	// Cost is that of all rows, in the price's currency.
	Cost float64 `json:"cost"`
}

// Generate makes pairs for every clip that has audio, checks each, and keeps all with the verdict.
func Generate(ctx context.Context, s *Set, cfg GenerateConfig) (Generated, error) {
	out := Generated{Faults: map[string]int{}}
	by, err := makerOf(s, cfg)
	if err != nil {
		return out, err
	}
	for _, family := range cfg.Families {
		settings, err := by.settings(s, family)
		if err != nil {
			return out, err
		}
		run := step[known, pairRow]{
			set: s, name: pairsPrefix + family + "." + by.name(), opts: cfg.RunOptions, settings: settings,
			items: s.knowns, id: func(k known) string { return k.clip.ID },
			do: func(ctx context.Context, k known) (pairRow, error) {
				row := pairRow{outcome: outcome{Clip: k.clip.ID, State: stateDone}}
				if k.clip.Missing != "" {
					row.State, row.Reason = stateMissing, k.clip.Missing
					return row, nil
				}
				return row, by.pairs(ctx, family, k, &row)
			},
			seen: out.count,
		}
		tally, err := run.run(ctx)
		out.add(tally)
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

func (g *Generated) add(t Tally) {
	g.Clips += t.Clips
	g.Kept += t.Kept
	g.Failed += t.Failed
	g.Missing += t.Missing
}

func (g *Generated) count(r pairRow) {
	g.Cost += r.Cost
	for _, p := range r.Pairs {
		if p.Rejected == nil {
			g.Accepted++
			continue
		}
		g.Rejected++
		g.Faults[p.Rejected.Kind]++
	}
}

// maker makes the pairs of a clip into its row.
type maker interface {
	name() string
	settings(s *Set, family string) (any, error)
	pairs(ctx context.Context, family string, k known, row *pairRow) error
}

func makerOf(s *Set, cfg GenerateConfig) (maker, error) {
	if len(cfg.Families) == 0 {
		return nil, errors.New("no family is named")
	}
	if cfg.LLM == nil {
		for _, f := range cfg.Families {
			if f != rules.Understanding && f != rules.Captioning {
				return nil, fmt.Errorf("rules make no pairs of the family %.40q, but of %s and %s: name a language model with --llm", f, rules.Understanding, rules.Captioning)
			}
		}
		r, err := rules.New(cfg.Seed, cfg.Wordings)
		return byRules{r, cfg}, err
	}
	return newByLLM(s, *cfg.LLM, cfg.Part)
}

// judged checks pairs; of two with the same words the second is rejected.
func judged(pairs []rules.Pair, k known) []Checked {
	out := make([]Checked, len(pairs))
	seen := map[string]bool{}
	for i, p := range pairs {
		out[i].Pair = p
		fault := check.Pair(k.check, p.Question, p.Answer, k.near)
		if words := strings.ToLower(p.Question); !fault.Found() && seen[words] {
			fault = check.Fault{Kind: check.Duplicate, Detail: "the question was asked before"}
		} else {
			seen[words] = true
		}
		if fault.Found() {
			out[i].Rejected = &fault
		}
	}
	return out
}

type byRules struct {
	rules *rules.Rules
	cfg   GenerateConfig
}

func (byRules) name() string { return makerRules }

func (b byRules) settings(*Set, string) (any, error) {
	return map[string]any{"maker": "rules 1", "seed": b.cfg.Seed, "wordings": b.cfg.Wordings}, nil
}

func (b byRules) pairs(_ context.Context, family string, k known, row *pairRow) error {
	row.Pairs = judged(b.rules.Make(family, &k.facts), k)
	return nil
}

// byLLM asks a language model.
type byLLM struct {
	cfg     LLMConfig
	client  *llm.Client
	prompts map[string]llm.Prompt // by family and collection
	source  *llm.Prompts
	budget  *llm.Budget
	// silent counts clips in a row for which the API gave no answer.
	silent atomic.Int64
}

// mostSilent clips in a row without an answer end the run.
const mostSilent = 10

func newByLLM(s *Set, cfg LLMConfig, part Part) (maker, error) {
	client, err := llm.New(cfg.Config)
	if err != nil {
		return nil, err
	}
	source, err := llm.OpenPrompts(cfg.Prompts)
	if err != nil {
		return nil, err
	}
	spent, err := s.spent(part)
	if err != nil {
		return nil, err
	}
	most := cfg.MaxCost / float64(max(1, part.N)) // each part has its share, so that together they keep the bound
	return &byLLM{cfg: cfg, client: client, prompts: map[string]llm.Prompt{}, source: source, budget: llm.NewBudget(cfg.Price, most, spent)}, nil
}

func (*byLLM) name() string { return makerLLM }

// settings hold the prompts of all collections: what a reply was asked with can be read from them.
func (b *byLLM) settings(s *Set, family string) (any, error) {
	prompts := map[string]llm.Prompt{}
	for _, name := range s.Names {
		p, err := b.source.For(family, name)
		if err != nil {
			return nil, err
		}
		prompts[name], b.prompts[family+"/"+name] = p, p
	}
	return map[string]any{"maker": "llm 1", "model": b.cfg.Model, "temperature": b.cfg.Temperature, "max_tokens": b.cfg.MaxTokens, "prompts": prompts}, nil
}

// pairs asks until a reply can be read or the tries are used up.
func (b *byLLM) pairs(ctx context.Context, family string, k known, row *pairRow) error {
	prompt := b.prompts[family+"/"+k.clip.Dataset]
	row.Asked, row.Prompt = k.facts.Shown, prompt.Digest
	messages, err := conversation(prompt, k.facts.Shown)
	if err != nil {
		return err
	}
	tries := max(1, min(b.cfg.Tries, 3))
	for range tries {
		reply, err := b.ask(ctx, messages, row)
		if err != nil {
			return b.fault(ctx, err, row)
		}
		pairs, err := llm.Parse(reply.Text)
		if err == nil {
			row.State, row.Reason, row.Pairs = stateDone, "", judged(pairs, k)
			return nil
		}
		row.State, row.Reason = stateFailed, err.Error()
	}
	return nil
}

func (b *byLLM) ask(ctx context.Context, messages []llm.Message, row *pairRow) (llm.Reply, error) {
	size := 0
	for _, m := range messages {
		size += len(m.Content)
	}
	done, err := b.budget.Reserve(size, b.cfg.MaxTokens)
	if err != nil {
		return llm.Reply{}, err
	}
	reply, err := b.client.Complete(ctx, messages)
	row.Cost += done(reply)
	if err == nil {
		b.silent.Store(0)
		row.Replies = append(row.Replies, reply)
	}
	return reply, err
}

// fault makes a row of a clip's own fault, and lets the others end the run.
func (b *byLLM) fault(ctx context.Context, err error, row *pairRow) error {
	var refused *llm.RefusedError
	var silent *llm.UnreachableError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &refused), errors.As(err, &silent) && b.silent.Add(1) < mostSilent:
		row.State, row.Reason = stateFailed, err.Error()
		return nil
	}
	return err
}

// conversation is the system text, the examples, and the clip's metadata.
func conversation(p llm.Prompt, metadata json.RawMessage) ([]llm.Message, error) {
	out := []llm.Message{{Role: "system", Content: p.System}}
	for _, shot := range p.Shots {
		reply, err := json.Marshal(shot.Pairs)
		if err != nil {
			return nil, err
		}
		out = append(out, llm.Message{Role: "user", Content: string(shot.Metadata)}, llm.Message{Role: "assistant", Content: string(reply)})
	}
	return append(out, llm.Message{Role: "user", Content: string(metadata)}), nil
}

// Reasons lists faults by kind, the most frequent first.
func (g Generated) Reasons() string {
	kinds := slices.SortedFunc(maps.Keys(g.Faults), func(a, b string) int {
		if d := g.Faults[b] - g.Faults[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	var parts []string
	for _, k := range kinds {
		parts = append(parts, fmt.Sprintf("%s %d", k, g.Faults[k]))
	}
	return strings.Join(parts, ", ")
}
