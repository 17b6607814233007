package stage

// Cancelled tells whether the user has cancelled the job.
func (c *Control) Cancelled(jobID string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cancelled[jobID]
}
