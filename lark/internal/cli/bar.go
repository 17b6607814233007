package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/larkstream/larkstream/lark/internal/terminal"
)

// bar is a progress bar on one line: what is done, the rate and the time left.
type bar struct {
	line        *terminal.Line
	start, last time.Time
	total       int64
}

const (
	barWidth  = 30
	barPeriod = 100 * time.Millisecond
)

// show draws the bar, at most every barPeriod.
func (b *bar) show(now time.Time, done, total int64) {
	b.total = total
	if total <= 0 || (now.Sub(b.last) < barPeriod && done < total) {
		return
	}
	b.last = now
	filled := int(barWidth * done / total)
	line := fmt.Sprintf("[%s%s] %s of %s", strings.Repeat("#", filled), strings.Repeat(".", barWidth-filled), size(done), size(total))
	if seconds := now.Sub(b.start).Seconds(); seconds > 0.5 && done > 0 {
		rate := float64(done) / seconds
		left := time.Duration(float64(total-done) / rate * float64(time.Second))
		line += fmt.Sprintf(", %s/s, %s left", size(int64(rate)), left.Round(time.Second))
	}
	b.line.Draw(line)
}

// size names bytes in decimal units.
func size(bytes int64) string {
	v, unit := float64(bytes), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if v < 1000 {
			break
		}
		v, unit = v/1000, u
	}
	return fmt.Sprintf("%.3g %s", v, unit)
}
