package stream

import (
	"maps"
	"slices"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// Progress counts a job's windows by stage, from its progress events. Events are best effort, so
// the counts may lag behind the truth; outcomes are counted in the job store.
type Progress struct {
	stages map[string]map[uint32]status
}

// Counts of one stage, in windows.
type Counts struct {
	Started, Waiting, Done, Skipped, Retrying int
}

type status byte

// Statuses in the order in which a window takes them: a late event never takes a window back.
const (
	started status = iota + 1
	waiting
	retrying
	done
	skipped
)

func statusOf(name string) status {
	switch name {
	case event.StatusStarted:
		return started
	case event.StatusWaiting:
		return waiting
	case event.StatusRetrying:
		return retrying
	case event.StatusDone:
		return done
	case event.StatusSkipped:
		return skipped
	}
	return 0
}

// maxWindows bounds what one job may make the counts remember.
const maxWindows = 4096

// windowBytes estimates what one remembered window costs.
const windowBytes = 16

// Begun tells whether any stage has begun work on the job.
func (p Progress) Begun() bool { return len(p.stages) > 0 }

// add returns by how many bytes the counts have grown.
func (p *Progress) add(ev *eventpb.Progress) int {
	st := statusOf(ev.GetStatus())
	if st == 0 || !slices.Contains(event.WorkStages(), ev.GetStage()) || ev.GetWindowIndex() >= maxWindows {
		return 0
	}
	if p.stages == nil {
		p.stages = make(map[string]map[uint32]status)
	}
	windows := p.stages[ev.GetStage()]
	if windows == nil {
		windows = make(map[uint32]status)
		p.stages[ev.GetStage()] = windows
	}
	before := len(windows)
	windows[ev.GetWindowIndex()] = max(windows[ev.GetWindowIndex()], st)
	return (len(windows) - before) * windowBytes
}

func (p Progress) clone() Progress {
	out := Progress{stages: make(map[string]map[uint32]status, len(p.stages))}
	for stage, windows := range p.stages {
		out.stages[stage] = maps.Clone(windows)
	}
	return out
}

// Stage returns the counts of one stage.
func (p Progress) Stage(name string) Counts {
	var c Counts
	for _, st := range p.stages[name] {
		switch st {
		case started:
			c.Started++
		case waiting:
			c.Waiting++
		case retrying:
			c.Retrying++
		case done:
			c.Done++
		case skipped:
			c.Skipped++
		}
	}
	return c
}
