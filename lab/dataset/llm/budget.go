package llm

import (
	"fmt"
	"sync"
)

// Price of tokens, in a currency of the user's, for a million.
type Price struct {
	Input  float64 `json:"input"`
	Output float64 `json:"output"`
}

// Of is what a reply costs.
func (p Price) Of(r Reply) float64 {
	return (float64(r.PromptTokens)*p.Input + float64(r.CompletionTokens)*p.Output) / 1e6
}

// BudgetError says that the money is spent.
type BudgetError struct{ Spent, Most float64 }

func (e *BudgetError) Error() string {
	return fmt.Sprintf("stopped before more than --max-cost %g would be spent (%.4f are): raise it and run the same command to go on", e.Most, e.Spent)
}

// Budget counts money. It is safe for concurrent use.
type Budget struct {
	mu              sync.Mutex
	price           Price
	most            float64
	spent, reserved float64
}

// NewBudget allows most in all, of which spent is spent; most 0 = no bound.
func NewBudget(price Price, most, spent float64) *Budget {
	return &Budget{price: price, most: most, spent: spent}
}

// Reserve sets aside the most that a request can cost: characters of the prompt, of which at least two make a token, and all tokens of the reply.
// done must be called with the cost that it had.
func (b *Budget) Reserve(promptBytes, maxTokens int) (done func(Reply) float64, err error) {
	worst := b.price.Of(Reply{PromptTokens: promptBytes/2 + 1, CompletionTokens: maxTokens})
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.most > 0 && b.spent+b.reserved+worst > b.most {
		return nil, &BudgetError{b.spent, b.most}
	}
	b.reserved += worst
	return func(r Reply) float64 {
		cost := b.price.Of(r)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.reserved -= worst
		b.spent += cost
		return cost
	}, nil
}

// Spent is what was spent.
func (b *Budget) Spent() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.spent
}
