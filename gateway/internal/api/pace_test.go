package api

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
)

// TestPaced: at 100 bytes per second over 10 s, whatever the body's length.
func TestPaced(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bytes int           // of each piece
		every time.Duration // a piece comes
		total int
		end   time.Duration // of the whole request
		want  string
	}{
		"fast enough for long": {bytes: 150, every: time.Second, total: 150 * 600, end: time.Hour},
		"in bursts":            {bytes: 1000, every: 9 * time.Second, total: 50_000, end: time.Hour},
		"short":                {bytes: 1, every: time.Second, total: 5, end: time.Hour},
		"trickles":             {bytes: 1, every: time.Second, total: 1000, end: time.Hour, want: "min_upload_rate"},
		"just too slow":        {bytes: 99, every: time.Second, total: 9900, end: time.Hour, want: "min_upload_rate"},
		"time is up":           {bytes: 150, every: time.Second, total: 150 * 600, end: time.Minute, want: "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					send(theirs, c.bytes, c.every, c.total)
				}()
				body := &paced{ReadCloser: ours, until: ours.SetReadDeadline, window: 10 * time.Second, rate: 100, end: time.Now().Add(c.end)}
				got, err := io.ReadAll(body)
				require.NoError(t, ours.Close())
				<-sent
				if c.want == "" {
					require.NoError(t, err)
					require.Len(t, got, c.total)
					return
				}
				require.ErrorContains(t, err, c.want)
				var p *client.Problem
				if c.want == "min_upload_rate" {
					require.ErrorAs(t, err, &p)
					require.Equal(t, http.StatusRequestTimeout, p.Status)
				}
			})
		})
	}
}

func TestPacedSetsNoDeadlineAfterTheBody(t *testing.T) {
	t.Parallel()
	set := 0
	body := &paced{
		ReadCloser: io.NopCloser(strings.NewReader("music")), window: time.Second, rate: 1, end: time.Now().Add(time.Hour),
		until: func(time.Time) error { set++; return nil },
	}
	_, err := io.ReadAll(body)
	require.NoError(t, err)
	before := set
	_, err = body.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, before, set)
}

// send writes pieces until all is sent or the reader is gone.
func send(w io.WriteCloser, piece int, every time.Duration, total int) {
	defer func() { _ = w.Close() }()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for sent := 0; sent < total; sent += piece {
		if _, err := w.Write(make([]byte, min(piece, total-sent))); err != nil {
			return
		}
		<-tick.C
	}
}
