package sim

import (
	"errors"
	"io"
)

// ErrNotBuilt is returned by a program that was built without the tag synctests, under which the Kafka client waits in a way that lets the
// virtual clock go on.
var ErrNotBuilt = errors.New("this program was built without the simulator: build it with `make bin/lark-sim` (go build -tags synctests)")

// Result is what came of a seed.
type Result struct {
	Seed uint64 `json:"seed"`
	// Violations are the breaches of the law; none is the aim.
	Violations []string `json:"violations,omitempty"`
	Jobs       int      `json:"jobs"`
	Outcomes   int      `json:"outcomes"`
	// Faults counts what was done to the pipeline, by kind.
	Faults map[string]int `json:"faults"`
	// VirtualS is how many seconds passed on the virtual clock.
	VirtualS float64 `json:"virtual_s"`
	// Trace is all that happened, step by step; only where it was asked for.
	Trace []string `json:"trace,omitempty"`
}

// Options of a run.
type Options struct {
	// Trace keeps all that happened.
	Trace bool
	// Log takes the log of the services; nil throws it away.
	Log io.Writer
}
