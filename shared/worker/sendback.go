package worker

import (
	"fmt"
	"strconv"
	"time"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/stage"
)

const (
	// A window is sent back this often without delay: evicted data of two stages explains it.
	freeHops = 2
	// After freeHops it waits before each hop, the shortest of the retry delays twice and then the next twice. After maxHops it fails: what
	// one stage stores, another does not see.
	hopsPerDelay = 2
	maxHops      = 6
)

// hopsOf is how often the window of a record was sent back; nonsense counts as never.
func hopsOf(rec event.Record) int {
	n, err := strconv.Atoi(rec.Get(event.HeaderHops))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// sendBack addresses a window's record for its hop-th way back. A stage that sees another object store than the one before it would send
// each window round for ever, so the way back is delayed more and more, on the retry topics of the stage that the window goes to.
func sendBack(rec event.Record, hop int) (event.Record, error) {
	if hop > maxHops {
		return rec, stage.Permanent(event.CodeBlobUnreachable, fmt.Errorf("the window's data was made again %d times and is still not in this "+
			"stage's object store: give all stages the same BLOB_URL, and the store a larger budget if it evicts so much", maxHops))
	}
	rec = rec.With(event.HeaderHops, strconv.Itoa(hop))
	if hop <= freeHops {
		return rec, nil
	}
	delay := event.RetryDelays()[(hop-freeHops-1)/hopsPerDelay]
	to := event.StageOf(rec.Topic)
	rec = rec.With(event.HeaderOriginTopic, rec.Topic).With(event.HeaderNotBefore, strconv.FormatInt(time.Now().Add(delay).UnixMilli(), 10))
	rec.Topic = event.InLane(event.RetryTopic(to, delay), event.LaneOf(rec.Topic))
	return rec, nil
}
