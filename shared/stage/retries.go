package stage

import (
	"slices"
	"strconv"
	"time"

	"github.com/larkstream/larkstream/shared/event"
)

const (
	// retryPartitions and retryRetention of retry topics that the provisioning did not make.
	retryPartitions = 8
	retryRetention  = 7 * 24 * time.Hour
)

// retryTopics are the topics on which a stage's records wait for another attempt, one for each delay in each lane of the stage.
type retryTopics struct {
	delays []time.Duration // shortest first
	names  []string        // the topic of each delay, lane by lane
	lanes  []string
	clock  clock
}

// clock tells the time of day; nil is the machine's clock.
type clock func() time.Time

func (c clock) now() time.Time {
	if c == nil {
		return time.Now()
	}
	return c()
}

// at is the moment of the machine's clock at which it will be t by this clock. The zero time stays what it is.
func (c clock) at(t time.Time) time.Time {
	if c == nil || t.IsZero() {
		return t
	}
	return time.Now().Add(t.Sub(c()))
}

// newRetryTopics are the retry topics of a stage that reads these topics.
func newRetryTopics(stage string, topics []string, delays []time.Duration) retryTopics {
	r := retryTopics{delays: delays, lanes: lanesOf(topics)}
	for _, lane := range r.lanes {
		for _, d := range delays {
			r.names = append(r.names, event.InLane(event.RetryTopic(stage, d), lane))
		}
	}
	return r
}

// lanesOf are the lanes of these topics; the interactive one is always among them.
func lanesOf(topics []string) []string {
	return slices.DeleteFunc(event.Lanes(), func(lane string) bool {
		return lane != event.LaneInteractive && !slices.ContainsFunc(topics, func(t string) bool { return event.LaneOf(t) == lane })
	})
}

func (r retryTopics) specs() []event.TopicSpec {
	var out []event.TopicSpec
	for _, name := range r.names {
		out = append(out, event.TopicSpec{Name: name, Partitions: retryPartitions, Retention: retryRetention, Trimmed: true})
	}
	return out
}

// delayOf is the delay of a retry topic; false for any other topic.
func (r retryTopics) delayOf(topic string) (time.Duration, bool) {
	if i := slices.Index(r.names, topic); i >= 0 {
		return r.delays[i%len(r.delays)], true
	}
	return 0, false
}

// fit is the index of the shortest delay that is long enough for the wait, or of the longest one: so a record never holds
// up a retry topic for longer than the topic's own delay.
func (r retryTopics) fit(wait time.Duration) int {
	for i, d := range r.delays {
		if d >= wait {
			return i
		}
	}
	return len(r.delays) - 1
}

// address sends the record to the retry topic of its lane with that index, to be handled once wait has passed.
func (r retryTopics) address(rec event.Record, index int, wait time.Duration) event.Record {
	lane := max(0, slices.Index(r.lanes, event.LaneOf(rec.Topic)))
	rec.Topic = r.names[lane*len(r.delays)+index]
	return rec.With(event.HeaderNotBefore, strconv.FormatInt(r.clock.now().Add(wait).UnixMilli(), 10))
}

// attemptOf reads the counted retries from the headers; nonsense counts as none.
func attemptOf(rec event.Record) int {
	n, err := strconv.Atoi(rec.Get(event.HeaderAttempt))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// dueOf reads when a record may be handled. It is never later than the topic's delay from now, whatever the record's
// headers say.
func (c clock) dueOf(rec event.Record, delay time.Duration) time.Time {
	ms, err := strconv.ParseInt(rec.Get(event.HeaderNotBefore), 10, 64)
	if err != nil {
		return time.Time{}
	}
	due := c.at(time.UnixMilli(ms))
	if latest := time.Now().Add(delay); due.After(latest) {
		return latest
	}
	return due
}
