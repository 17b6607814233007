package ask

import (
	"fmt"
	"strings"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
)

// progress takes news of a stage and draws the progress line.
func (s *screen) progress(p client.ProgressEvent) {
	s.windows = max(s.windows, p.Windows)
	if s.stages[p.Stage] == nil {
		s.stages[p.Stage] = map[int]string{}
	}
	s.stages[p.Stage][p.Window] = p.Status
	s.draw()
}

// draw writes the progress line where it does not break into a line of text.
func (s *screen) draw() {
	if s.status != nil && s.floor == nil {
		s.status.Draw(s.progressLine())
	}
}

func (s *screen) progressLine() string {
	var parts []string
	for _, stage := range event.WorkStages() {
		done, skipped, working, waits := 0, 0, 0, ""
		for _, status := range s.stages[stage] {
			switch status {
			case event.StatusDone:
				done++
			case event.StatusSkipped:
				skipped++
			case event.StatusWaiting:
				working++
				waits = " waits"
			default:
				working++
			}
		}
		parts = append(parts, stageWord(stage, done, skipped, working, s.windows)+waits)
	}
	return strings.Join(parts, "  ")
}

func stageWord(stage string, done, skipped, working, windows int) string {
	if stage == event.StageChunker {
		windows = 1
	}
	switch {
	case done+skipped+working == 0:
		return stage + " -"
	case skipped > 0 && skipped == windows:
		return stage + " skipped"
	case windows == 1 && done == 1:
		return stage + " done"
	case windows == 1:
		return stage + " ..."
	}
	return fmt.Sprintf("%s %d/%d", stage, done+skipped, windows)
}

// erase takes the progress line away.
func (s *screen) erase() { s.status.Clear() }
