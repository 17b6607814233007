//go:build synctests

package sim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
)

// Seeds simulates the seeds, from first to last, several at once, and tells each result as it comes. Its error says that a simulation could
// not be done, not that it found something. It takes no other seed once ctx has ended. A process may call it once at a time.
func Seeds(ctx context.Context, first, last uint64, parallel int, o Options, tell func(Result)) (err error) {
	s, err := newScratch() //nolint:contextcheck // it is made before any simulation
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	var mu sync.Mutex
	var faults []error
	outsideTests(func(t *testing.T) {
		next := first
		take := func() (seed uint64, ok bool) {
			mu.Lock()
			defer mu.Unlock()
			next++
			return next - 1, next-1 <= last && ctx.Err() == nil
		}
		var all sync.WaitGroup
		for range parallel {
			all.Go(func() { //nolint:contextcheck // a world has a clock and a life of its own
				for seed, ok := take(); ok; seed, ok = take() {
					r, err := simulate(t, seed, s, o)
					mu.Lock()
					if err != nil {
						faults = append(faults, fmt.Errorf("seed %d: %w", seed, err))
					}
					tell(r)
					mu.Unlock()
				}
			})
		}
		all.Wait()
	})
	return errors.Join(faults...)
}

// outsideTests gives f what synctest.Test needs, in a program that is no test. It fails nothing and reports nothing: the zero T is enough.
func outsideTests(f func(*testing.T)) {
	f(new(testing.T))
}
