//go:build synctests

package sim

import (
	"fmt"
	"time"

	"github.com/larkstream/larkstream/shared/event"
)

const (
	// faultsFor is how long faults happen. After that everything that is down comes up again.
	faultsFor = 30 * time.Second
	// patience is how long the pipeline has to end every job after that: the longest retry delays, one after another, and the reaper.
	patience = 40 * time.Minute
)

// plan is what happens in a seed beside the faults of single records.
type plan struct {
	gateways  int
	instances int // of each stage and model
	models    int
	// partitions of every topic that is divided. Few, so that records share one; the cost of a seed grows with them.
	partitions int32
	redis      bool // a fast tier before the object store
	blind      bool // the encoder's object store is another one, in which no window ever arrives
	jobs       []job
	nemeses    []nemesis
}

// job is what a client asks for.
type job struct {
	name      string
	at        time.Duration
	track     int // jobs on one track share their windows
	windows   int
	questions int
	bulk      bool // in the lane that nobody waits for
	fed       bool // published straight to Kafka
	// skew is by how much the clock of the machine that feeds the job is wrong.
	skew     time.Duration
	twice    bool // a fed job that is fed again
	model    int  // that must answer, from 1; 0 is any
	deadline time.Duration
	cancelAt time.Duration // after its acceptance; 0 for never
	hook     bool          // a webhook is told of its end
	hostile  hostile
	deadly   bool // the encoder dies of its windows, each time
}

// hostile is what is wrong with a fed job's record.
type hostile string

const (
	sound  hostile = ""
	newer  hostile = "of a newer version"
	broken hostile = "of bytes that are no message"
)

func newPlan(d dice) plan {
	p := plan{gateways: 1, instances: 1, models: 1, partitions: 1 + int32(d.below(4, "partitions")), redis: d.hit(0.4, "redis")}
	p.blind = d.hit(0.04, "blind")
	if d.hit(0.3, "gateways") {
		p.gateways = 2
	}
	switch {
	case d.hit(0.2, "models"):
		p.models = 2
	case d.hit(0.3, "instances"):
		p.instances = 2
	}
	for i := range 2 + d.below(4, "jobs") {
		p.jobs = append(p.jobs, newJob(d, i, p.models))
	}
	p.nemeses = newNemeses(d)
	return p
}

func newJob(d dice, i, models int) job {
	id := fmt.Sprintf("job%d", i+1)
	j := job{
		name: id, at: d.between(time.Second, 20*time.Second, id, "at"), track: d.below(3, id, "track"), windows: 1 + d.below(4, id, "windows"),
		questions: 1 + d.below(2, id, "questions"), fed: d.hit(0.3, id, "fed"),
	}
	j.windows = 1 + d.below(4, "windows of track", j.track)
	j.bulk = d.hit(0.35, id, "bulk")
	if d.hit(0.15, id, "deadline") {
		j.deadline = d.between(500*time.Millisecond, 30*time.Second, id, "deadline after")
	}
	if d.hit(0.2, id, "cancel") {
		j.cancelAt = d.between(10*time.Millisecond, 15*time.Second, id, "cancel after")
	}
	if d.hit(0.04, id, "deadly") {
		j.deadly, j.track = true, 3+i // nobody else has this track
	}
	j.hook = !j.fed && d.hit(0.4, id, "hook") // a fed job has none of its own
	if j.fed {
		j.twice = d.hit(0.2, id, "twice")
		if d.hit(0.3, id, "skewed") {
			j.skew = d.between(-20*time.Minute, 20*time.Minute, id, "skew")
		}
		j.model = d.below(models+1, id, "model")
		if d.hit(0.1, id, "hostile") {
			j.hostile = []hostile{newer, broken}[d.below(2, id, "kind of hostile")]
		}
	}
	return j
}

// stagesAndGateway are the names of everything that can be killed.
func stagesAndGateway() []string { return append(event.WorkStages(), event.StageRecorder) }
