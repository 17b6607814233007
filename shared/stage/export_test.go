package stage

import "time"

// Cancelled tells whether the user has cancelled the job.
func (c *Control) Cancelled(jobID string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, cancelled := c.cancelled[sumOf(jobID)]
	return cancelled
}

// Silence is how long the runner's client has had no answer from a broker.
func (r *Runner) Silence() time.Duration { return r.pulse.Silence() }
