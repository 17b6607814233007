package api

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
)

// paced is a body that must come at a minimum rate: in each window of time the bytes of a window, or else the rest of the body.
type paced struct {
	io.ReadCloser
	until    func(time.Time) error // sets the connection's read deadline
	window   time.Duration
	rate     int64     // bytes per second
	end      time.Time // of the whole request
	left     int64     // bytes that this window still must bring
	deadline time.Time // of this window
	ended    bool      // after the body net/http watches the connection, and a deadline would end the request
}

// Read implements io.Reader. A body that is too slow ends in a problem with status 408.
func (p *paced) Read(b []byte) (int, error) {
	if p.ended {
		return 0, io.EOF
	}
	if p.left <= 0 {
		p.next()
	}
	n, err := p.ReadCloser.Read(b)
	p.left -= int64(n)
	p.ended = errors.Is(err, io.EOF)
	if errors.Is(err, os.ErrDeadlineExceeded) && p.deadline.Before(p.end) {
		return n, p.tooSlow()
	}
	return n, err
}

func (p *paced) next() {
	p.left = max(1, int64(p.window.Seconds()*float64(p.rate)))
	p.deadline = time.Now().Add(p.window)
	if p.deadline.After(p.end) {
		p.deadline = p.end
	}
	_ = p.until(p.deadline) // recorders in tests have no deadlines; every real connection has
}

func (p *paced) tooSlow() *client.Problem {
	slow := problem(http.StatusRequestTimeout, codeBodyTimeout, "the body came at less than %d bytes a second for %s; send it over a faster connection, "+
		"or lower limits.min_upload_rate of the gateway", p.rate, p.window)
	slow.Retryable = true
	return slow
}
