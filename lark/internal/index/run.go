package index

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
)

// Filling is a run that is being filled.
type Filling struct {
	Gateway *client.Client
	// Share of the items that are taken, 0 to 1; 0 = all. Which ones follows from their ids and Seed.
	Share float64
	Seed  uint64
	// Progress is told how many items are there after each request.
	Progress func(items int)
}

// Filled tells what has come into a run.
type Filled struct {
	Items, Repeated, LeftOut int
	Bad                      []Bad
	// BadLines counts all bad lines; Bad holds the first of them.
	BadLines int
	Left     Left
}

// maxBad is how many bad lines are kept.
const maxBad = 1000

// Fill adds the items of a source to a run.
func (f Filling) Fill(ctx context.Context, run string, src Source) (Filled, error) {
	var out Filled
	batch := make([]client.NewItem, 0, client.MaxRunItems)
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		added, err := f.Gateway.AddItems(ctx, run, batch)
		if err != nil {
			return err
		}
		out.Items, out.Repeated, batch = out.Items+added.Added, out.Repeated+added.Known, batch[:0]
		if f.Progress != nil {
			f.Progress(out.Items)
		}
		return nil
	}
	left, err := src.Read(ctx, func(it client.NewItem) error {
		if !f.taken(it.ID) {
			out.LeftOut++
			return nil
		}
		if batch = append(batch, it); len(batch) == cap(batch) {
			return flush()
		}
		return nil
	}, func(b Bad) {
		if out.BadLines++; len(out.Bad) < maxBad {
			out.Bad = append(out.Bad, b)
		}
	})
	out.Left = left
	return out, errors.Join(err, flush())
}

func (f Filling) taken(id string) bool {
	if f.Share <= 0 || f.Share >= 1 {
		return true
	}
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d/%s", f.Seed, id) // a hash takes everything
	return float64(mix(h.Sum64())>>11)/(1<<53) < f.Share
}

// mix spreads the bits of a hash (the finaliser of SplitMix64, Steele, Lea and Flood, OOPSLA 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// patience is how long the gateway may be away while a run is followed.
const patience = 10 * time.Minute

// errEnough ends a watch.
var errEnough = errors.New("the run has paused")

// Follow tells show of the run's state until the run has ended or paused. A gateway that goes away is waited for; lost is told of it.
func Follow(ctx context.Context, gw *client.Client, run string, show func(client.Run), lost func(error)) (last client.Run, err error) {
	err = gw.WatchRun(ctx, run, client.WatchOptions{Lost: lost, Patience: patience}, func(ev client.RunEvent) error {
		if ev.Run == nil {
			return nil
		}
		last = *ev.Run
		show(last)
		if last.State == client.RunPaused {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return last, err
}

// EachItem calls fn for each item of a run, with its outcomes if wanted.
func EachItem(ctx context.Context, gw *client.Client, run, state string, outcomes bool, fn func(client.RunItem) error) error {
	opts := client.ItemOptions{State: state, Outcomes: outcomes, Limit: 500}
	if outcomes {
		opts.Limit = 50 // a page stays small whatever the number of windows
	}
	for {
		page, err := gw.RunItems(ctx, run, opts)
		if err != nil {
			return err
		}
		for _, it := range page.Items {
			if err := fn(it); err != nil {
				return err
			}
		}
		if page.Next == nil {
			return nil
		}
		opts.Cursor = *page.Next
	}
}
