package runs

import "time"

// SetNow replaces the controller's clock.
func (c *Controller) SetNow(now func() time.Time) { c.now = now }
