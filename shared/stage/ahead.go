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
	for waitFor(ctx, aheadInterval) {
		unread, err := kafka.UnreadBy(ctx, r.client, "lark."+event.StageOf(r.cfg.Output), event.InLanes(r.cfg.Output)...)
		if err != nil {
			made := !errors.Is(err, kerr.UnknownTopicOrPartition) // the gateway makes the topics, which may start later
			if made && ctx.Err() == nil && time.Since(logged) > pollErrorLog {
				logged = time.Now()
				r.log.Warn("asking what the next stage has not read; the stage goes on as it is", "error", err)
			}
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
