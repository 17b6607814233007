package blob

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// classes are the prefixes that may be swept, in the order in which they are deleted. Windows, plans, soft prompts,
// answers and embeddings can be made again from audio, embeddings at the highest price; users send audio again with their next
// question.
var classes = [][]string{{PrefixAudio, PrefixPCM}, {PrefixPrompt, PrefixPlan, PrefixAnswer}, {PrefixEmbedding}}

const (
	// One sweep removes at most this many objects of a class, so that its memory is bounded. The next sweep goes on.
	maxVictims = 100_000
	// A temporary file older than this belongs to a writer that died.
	staleTemp = 6 * time.Hour
)

// Budget is how much a store may hold.
type Budget struct {
	// Bytes of all objects together; 0 means no limit.
	Bytes int64
	// Prefixes limits the bytes below single prefixes, e.g. {"pcm/": 10 << 30}.
	Prefixes map[string]int64
	// KeepYounger spares objects written within this time: they may belong to work in hand.
	KeepYounger time.Duration
	// KeepDerivedYounger is KeepYounger for windows, plans and soft prompts: work in hand makes them again when they are gone, so they need not be
	// spared for long. 0 means KeepYounger.
	KeepDerivedYounger time.Duration
	// Keep spares objects by key, whatever their age: an old one may belong to a new job. It is asked for each object when the store is
	// listed and once more before the object is deleted. nil spares none.
	Keep func(key string) bool
	// Now is the present; zero means time.Now().
	Now time.Time
}

// Swept is what a sweep found and did.
type Swept struct {
	// Objects and Bytes that were found.
	Objects int
	Bytes   int64
	// Removed objects and bytes.
	Removed      int
	RemovedBytes int64
}

// Sweep deletes the oldest objects until the store is within its budget: audio and windows first, then
// soft prompts, plans and answers, embeddings last. Objects under other prefixes are counted but never deleted.
func Sweep(ctx context.Context, s *Store, b Budget) (Swept, error) {
	if b.Now.IsZero() {
		b.Now = time.Now()
	}
	w := &sweeper{store: s, budget: b}
	sizes, err := w.measure(ctx)
	if err != nil {
		return w.swept, err
	}
	for prefix, limit := range b.Prefixes {
		if err := w.shrink(ctx, []string{prefix}, sizes[prefix]-limit); err != nil {
			return w.swept, err
		}
	}
	if b.Bytes == 0 {
		return w.swept, nil
	}
	for _, class := range classes {
		if err := w.shrink(ctx, class, w.swept.Bytes-w.swept.RemovedBytes-b.Bytes); err != nil {
			return w.swept, err
		}
	}
	return w.swept, nil
}

type sweeper struct {
	store  *Store
	budget Budget
	swept  Swept
}

type object struct {
	key  string
	size int64
	time time.Time
}

// measure adds up the store, also below each prefix that has a limit, and removes what dead writers have left.
func (w *sweeper) measure(ctx context.Context) (map[string]int64, error) {
	out := map[string]int64{}
	err := w.store.each(ctx, "", func(o object) error {
		if strings.HasSuffix(o.key, tempSuffix) {
			if o.time.Before(w.budget.Now.Add(-staleTemp)) {
				return w.store.remove(ctx, o.key)
			}
			return nil
		}
		w.swept.Objects++
		w.swept.Bytes += o.size
		for prefix := range w.budget.Prefixes {
			if strings.HasPrefix(o.key, prefix) {
				out[prefix] += o.size
			}
		}
		return nil
	})
	return out, err
}

// shrink deletes the oldest objects below the prefixes until excess bytes have gone.
func (w *sweeper) shrink(ctx context.Context, prefixes []string, excess int64) error {
	if excess <= 0 {
		return nil
	}
	var oldest victims
	for _, prefix := range prefixes {
		if err := w.store.each(ctx, prefix, func(o object) error {
			if !strings.HasSuffix(o.key, tempSuffix) && !w.spared(o) {
				oldest.offer(o)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	slices.SortFunc(oldest, older)
	for _, o := range oldest {
		if excess <= 0 {
			return nil
		}
		removed, err := w.removeUnused(ctx, o)
		if err != nil {
			return wrap("deleting", o.key, err)
		}
		if removed {
			excess -= o.size
			w.swept.Removed++
			w.swept.RemovedBytes += o.size
		}
	}
	return nil
}

// removeUnused looks at an object again and deletes it if it is still the one that was listed and is still not spared: it may have been
// written again, touched, or taken into use by a job since.
func (w *sweeper) removeUnused(ctx context.Context, listed object) (bool, error) {
	if err := w.store.sweeping.Acquire(ctx, 1); err != nil {
		return false, err
	}
	defer w.store.sweeping.Release(1)
	now, err := w.store.bucket.stat(ctx, listed.key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil || w.spared(now) || now.time.After(listed.time) {
		return false, err
	}
	return true, w.store.remove(ctx, listed.key)
}

func (w *sweeper) spared(o object) bool {
	young := w.budget.KeepYounger
	if w.budget.KeepDerivedYounger > 0 && derived(o.key) {
		young = w.budget.KeepDerivedYounger
	}
	return o.time.After(w.budget.Now.Add(-young)) || (w.budget.Keep != nil && w.budget.Keep(o.key))
}

// derived tells whether an object is made again in a moment from audio or an embedding.
func derived(key string) bool {
	return slices.ContainsFunc([]string{PrefixPCM, PrefixPlan, PrefixPrompt}, func(p string) bool { return strings.HasPrefix(key, p) })
}

// victims is a heap of the oldest objects, the youngest of them on top.
type victims []object

func (v victims) Len() int           { return len(v) }
func (v victims) Less(i, j int) bool { return older(v[i], v[j]) > 0 }
func (v victims) Swap(i, j int)      { v[i], v[j] = v[j], v[i] }
func (v *victims) Push(o any)        { *v = append(*v, o.(object)) }
func (v *victims) Pop() any {
	last := len(*v) - 1
	o := (*v)[last]
	*v = (*v)[:last]
	return o
}

func (v *victims) offer(o object) {
	heap.Push(v, o)
	if v.Len() > maxVictims {
		heap.Pop(v)
	}
}

func older(a, b object) int {
	return cmp.Or(a.time.Compare(b.time), cmp.Compare(a.key, b.key))
}

// each calls fn for every object below prefix, in no certain order.
func (s *Store) each(ctx context.Context, prefix string, fn func(object) error) error {
	if err := s.bucket.each(ctx, prefix, fn); err != nil {
		return fmt.Errorf("listing objects %s: %w", prefix, err)
	}
	return nil
}
