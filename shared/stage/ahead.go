package stage

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

// aheadInterval is how often the stage looks at what the next stage has left unread.
const aheadInterval = time.Second

// watchAhead holds a lane while the next stage has more than MaxAhead of its records unread, until ctx ends. The work of a stage lies in the
// object store until the next stage takes it: a stage that runs far ahead would fill the store, and what is evicted from there has to be done
// again. Nobody waits for a stage that waits itself, for the last stage has no bound.
func (r *Runner) watchAhead(ctx context.Context) {
	if r.cfg.MaxAhead == 0 {
		return
	}
	held := make(map[string]bool)
	var logged time.Time
	var look lookAhead
	for waitFor(ctx, aheadInterval) {
		if !look.due(r.admit.moved.Load(), held) {
			continue
		}
		unread, err := kafka.UnreadBy(ctx, r.client, "lark."+event.StageOf(r.cfg.Output), event.InLanes(r.cfg.Output)...)
		if err != nil {
			made := !errors.Is(err, kerr.UnknownTopicOrPartition) // the gateway makes the topics, which may start later
			if made && ctx.Err() == nil && time.Since(logged) > pollErrorLog {
				logged = time.Now()
				r.log.Warn("asking what the next stage has not read; the stage goes on as it is", "error", err)
			}
			look = lookAhead{}
			continue
		}
		for _, lane := range r.retries.lanes {
			hold := unread[event.InLane(r.cfg.Output, lane)] > r.cfg.MaxAhead
			if hold != held[lane] {
				r.log.Debug("next stage", "lane", lane, "held", hold, "unread", unread[event.InLane(r.cfg.Output, lane)])
			}
			held[lane] = hold
			r.admit.records.hold(lane, hold)
			r.metrics.Held(ctx, r.cfg.Stage, lane, hold)
		}
	}
}

// lookAhead tells when the broker must be asked. An instance that has neither begun nor left a record since it last asked has written nothing
// since, and an idle stage should leave the broker alone.
type lookAhead struct {
	asked bool
	moved int64
}

// due is called before each look with the number of records begun and left so far, and what is held.
func (l *lookAhead) due(moved int64, held map[string]bool) bool {
	for _, lane := range held {
		if lane {
			return true // until the next stage has caught up
		}
	}
	if l.asked && l.moved == moved {
		return false
	}
	l.asked, l.moved = true, moved
	return true
}
