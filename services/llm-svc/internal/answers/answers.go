package answers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Patience is how long the look-ups or the writes of one window may take together. What is not found by then is decoded.
const Patience = 5 * time.Second

// Deps are what a Cache works with; all are needed.
type Deps struct {
	Store   *blob.Store
	Metrics *telemetry.CacheMetrics
	Log     *slog.Logger
	// Model is the digest of the model bundle: decoder, tokenizer and prompt template.
	Model string
	// Engine is what runs the decoder: engines differ in the last bits of their scores.
	Engine string
}

// Cache keeps answers in the object store. Its methods are safe for concurrent use, and never fail: a fault is logged, counted, and a miss.
type Cache struct{ deps Deps }

// New refuses missing dependencies.
func New(d Deps) (*Cache, error) {
	if d.Store == nil || d.Metrics == nil || d.Log == nil || d.Model == "" || d.Engine == "" {
		return nil, errors.New("making answer cache: a dependency is missing")
	}
	return &Cache{deps: d}, nil
}

// Asked is all that an answer depends on besides the model.
type Asked struct {
	// Prompt is the key of the soft prompt.
	Prompt string `json:"prompt"`
	// Question is the question's text, and Index its number in the job, from which sampling takes its seed.
	Question string `json:"question"`
	Index    int    `json:"index"`
	// System and History are what was said before.
	System  string          `json:"system,omitempty"`
	History []contract.Turn `json:"history,omitempty"`
	// Schema is the form asked for; "" is free text.
	Schema string          `json:"schema"`
	Decode contract.Decode `json:"decode"`
}

// Repeatable tells whether the same question gets the same answer each time: decoding is greedy, or sampling has a seed.
func (a Asked) Repeatable() bool { return a.Decode.Temperature == 0 || a.Decode.Seed != 0 }

// key is where an answer is stored: answer/v1/<SHA-256 of all that it depends on>.
func (c *Cache) key(a Asked) string {
	if a.Decode.Temperature == 0 { // greedy decoding does not look at these
		a.Index, a.Decode.TopP, a.Decode.TopK, a.Decode.Seed = 0, 0, 0, 0
	}
	raw, err := json.Marshal(struct {
		Asked
		Model, Engine string
	}{a, c.deps.Model, c.deps.Engine})
	if err != nil {
		return "" // a temperature that is no number: the store refuses the key, which makes a miss
	}
	sum := sha256.Sum256(raw)
	return blob.PrefixAnswer + "v1/" + hex.EncodeToString(sum[:])
}

// Get returns a stored answer that usable accepts. A value that is damaged, belongs to another key, or is refused is deleted.
func (c *Cache) Get(ctx context.Context, a Asked, usable func(Answer) error) (Answer, bool) {
	key := c.key(a)
	raw, err := c.deps.Store.GetBytes(ctx, key, maxStored)
	if errors.Is(err, blob.ErrNotFound) {
		c.deps.Metrics.Request(ctx, telemetry.TierAnswer, telemetry.ResultMiss)
		return Answer{}, false
	}
	if err != nil && !errors.Is(err, blob.ErrTooLarge) {
		c.failed(ctx, "an answer cannot be looked up in the cache, so the question is decoded", err)
		c.deps.Metrics.Request(ctx, telemetry.TierAnswer, telemetry.ResultError)
		return Answer{}, false
	}
	var found Answer
	reason := telemetry.DiscardCorrupt
	if err == nil {
		found, err = unseal(key, raw)
	}
	if err == nil {
		err = usable(found)
	}
	if errors.Is(err, errOtherKey) {
		reason = telemetry.DiscardKey
	}
	if err != nil {
		c.discard(ctx, key, reason, err)
		return Answer{}, false
	}
	c.deps.Metrics.Request(ctx, telemetry.TierAnswer, telemetry.ResultHit)
	return found, true
}

// discard deletes a value that must not be used, and counts it as a miss.
func (c *Cache) discard(ctx context.Context, key, reason string, why error) {
	c.failed(ctx, "a stored answer must not be used: it is deleted, and the question is decoded", fmt.Errorf("%s: %w", key, why))
	c.deps.Metrics.Request(ctx, telemetry.TierAnswer, telemetry.ResultMiss)
	c.deps.Metrics.Discarded(ctx, telemetry.TierAnswer, reason)
	if err := c.deps.Store.Delete(ctx, key); err != nil {
		c.failed(ctx, "a damaged answer cannot be deleted from the cache", err)
	}
}

// Put stores an answer.
func (c *Cache) Put(ctx context.Context, a Asked, answer Answer) {
	key := c.key(a)
	raw, err := seal(key, answer)
	if err == nil {
		err = c.deps.Store.PutBytes(ctx, key, raw)
	}
	result := telemetry.ResultOK
	if err != nil {
		result = telemetry.ResultError
		c.failed(ctx, "an answer cannot be stored in the cache, so it will be decoded again if it is asked for again", err)
	}
	c.deps.Metrics.Write(ctx, telemetry.TierAnswer, result)
}

// failed logs a fault, unless the work was given up.
func (c *Cache) failed(ctx context.Context, what string, err error) {
	if !errors.Is(ctx.Err(), context.Canceled) {
		c.deps.Log.WarnContext(ctx, "the answer cache has a fault; answers go on without it", "what", what, "error", err)
	}
}
