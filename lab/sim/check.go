//go:build synctests

package sim

import (
	"fmt"

	"github.com/larkstream/larkstream/gateway/client"
)

// verdict reads the history and the clients' view of a seed, and tells what breaks the law.
type verdict struct {
	w        *world
	plan     plan
	clients  []*watcher
	outcomes int
	found    []string
}

func (v *verdict) breach(format string, args ...any) {
	v.found = append(v.found, fmt.Sprintf(format, args...))
}

// check looks at everything.
func (v *verdict) check(settled bool) {
	if !settled {
		v.breach("records are left on the topics that no stage finishes")
	}
	for _, c := range v.clients {
		v.job(c)
	}
}

// job: one terminal outcome for each question of each window.
func (v *verdict) job(c *watcher) {
	if c.err != nil {
		v.breach("%s (%s): its end was not seen: %v", c.job.name, c.id, c.err)
		return
	}
	if c.end.ID == "" && c.job.hostile != sound {
		return
	}
	if !client.Terminal(c.end.State) {
		v.breach("%s (%s): told its end, but is %s", c.job.name, c.id, c.end.State)
	}
	seen := make(map[string]bool)
	for _, o := range c.outcomes {
		v.outcomes++
		key := fmt.Sprint(o.QuestionIndex, "/", o.Window.Index)
		if seen[key] {
			v.breach("%s (%s): two outcomes of question/window %s", c.job.name, c.id, key)
		}
		seen[key] = true
	}
	if want := c.end.Counts.Expected; len(c.outcomes) != want || want == 0 {
		v.breach("%s (%s): %d outcomes, %d expected", c.job.name, c.id, len(c.outcomes), want)
	}
}
