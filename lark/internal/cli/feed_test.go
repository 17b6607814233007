package cli

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/lark/internal/feed"
	"github.com/larkstream/larkstream/lark/internal/terminal"
)

func TestFeedProgressTellsRateAndTimeLeft(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	start := time.Unix(1000, 0)
	p := feedProgress{line: terminal.New(&out, func() int { return 80 }), start: start}
	p.show(start.Add(10*time.Second), feed.Progress{Jobs: 50, Done: 250, Total: 1000})
	require.Equal(t, "\r\x1b[K50 jobs, 5.0/s, 25%, 30s left", out.String())
	p.show(start.Add(10*time.Second+barPeriod/2), feed.Progress{Jobs: 51, Done: 255, Total: 1000})
	require.NotContains(t, out.String(), "51", "not more often than an eye can read")
	out.Reset()
	p.show(start.Add(20*time.Second), feed.Progress{Jobs: 100})
	require.Equal(t, "\r\x1b[K100 jobs, 5.0/s", out.String(), "the end of standard input is not known")
	p.line.Clear()
	require.Equal(t, "\r\x1b[K100 jobs, 5.0/s\r\x1b[K", out.String())
}
