package event

import (
	"strings"
	"time"

	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// Only while somebody streams a job are the tokens of its answers published, because a catalogue of jobs that nobody watches would fill the
// events topic with them. The gateway says on the control topic that a job is watched, again and again while it is, and takes its word back
// afterwards. A word counts for WatchLease, so that a gateway which dies leaves nothing behind for ever.
const (
	WatchLease = 15 * time.Minute
	// WatchRenewal is how often the word is given again.
	WatchRenewal = WatchLease / 3
)

// watchPrefix keeps the word apart from a cancel of the same job on the compacted topic.
const watchPrefix = "watch/"

// Watched makes the record that says that somebody streams the job.
func Watched(source, jobID string, at time.Time) (Record, error) {
	return Encode(source, &eventpb.Control{JobId: jobID, Kind: ControlWatch, AtUnixMs: at.UnixMilli()})
}

// Unwatched makes the record, a tombstone, that takes the word back.
func Unwatched(jobID string) Record { return Record{Topic: TopicControl, Key: watchPrefix + jobID} }

// UnwatchedJob reads the job of an Unwatched record by its key; false for the key of another record.
func UnwatchedJob(key string) (jobID string, ok bool) { return strings.CutPrefix(key, watchPrefix) }

func controlKey(m *eventpb.Control) string {
	if m.GetKind() == ControlWatch {
		return watchPrefix + m.GetJobId()
	}
	return m.GetJobId()
}
