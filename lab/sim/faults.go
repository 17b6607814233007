//go:build synctests

package sim

import (
	"maps"
	"strings"
	"sync"
	"time"
)

// faults decides which fault befalls what, and counts the faults.
type faults struct {
	dice
	rates map[string]float64 // by kind; a kind that is not there does not happen in this seed

	mu       sync.Mutex
	attempts map[string]int
	hits     map[string]int
	over     bool
}

// newFaults chooses the kinds of this seed and how often each happens: few kinds in each seed find more than all kinds in every seed,
// because one fault hides another. (Groce et al., Swarm Testing, ISSTA 2012.)
func newFaults(d dice) *faults {
	f := &faults{dice: d, rates: make(map[string]float64), attempts: make(map[string]int), hits: make(map[string]int)}
	for _, kind := range recordFaults() {
		if f.hit(0.35, "kind", kind) {
			f.rates[kind] = []float64{0.02, 0.1, 0.3}[f.below(3, "rate", kind)]
		}
		if kind == stray { // it matters only where plans are late, of which a seed has few
			f.rates[stray] *= 3
			f.rates[latePlan] = f.rates[stray]
		}
	}
	return f
}

// attempt counts, from 0, how often something was tried.
func (f *faults) attempt(what ...string) int {
	key := strings.Join(what, "\x00")
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.attempts[key]
	f.attempts[key]++
	return n
}

// strike tells whether a fault of this kind befalls the attempt at something. Each attempt is half as likely to be hit as the one before.
func (f *faults) strike(kind, what string, attempt int) bool {
	if !f.hit(f.rates[kind]/float64(int(1)<<min(attempt, 20)), kind, what, attempt) {
		return false
	}
	return f.count(kind)
}

// count notes a fault; false once the faults are over.
func (f *faults) count(kind string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return false
	}
	f.hits[kind]++
	return true
}

// note notes a fault that mends itself at once, so that it may happen at any time.
func (f *faults) note(kind string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hits[kind]++
}

// end ends the faults: what is broken must now mend itself.
func (f *faults) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
}

// counted gives the number of faults by kind.
func (f *faults) counted() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.hits)
}

func (f *faults) number(kind string) int { return f.counted()[kind] }

// lag is the time that an ordinary step takes. It differs from step to step, so that steps do not meet at one moment, where only the
// scheduler of goroutines would decide which is first.
func (f *faults) lag(most time.Duration, what string, attempt int) time.Duration {
	return f.between(time.Millisecond, most, "lag", what, attempt)
}
