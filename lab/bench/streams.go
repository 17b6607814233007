package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/larkstream/larkstream/gateway/client"
)

// StreamsRound is what event streams that are open at once took.
type StreamsRound struct {
	// Streams were open at once, half of them of a job that nobody else watched, the others of one job.
	Streams int `json:"streams"`
	// OpenedS is how long it took to open all of them, SpreadS how long the end of the one job took to reach the last of its watchers after the first.
	OpenedS float64 `json:"opened_s"`
	SpreadS float64 `json:"spread_s"`
	// Before and Open are the gateway's memory before and while they were open.
	Before Memory `json:"before"`
	Open   Memory `json:"open"`
}

// openingAtOnce is how many streams are being opened at the same time.
const openingAtOnce = 32

// streams opens event streams and ends the job that half of them watch.
func (cfg *GatewayConfig) streams(ctx context.Context, stack Stack, gw *client.Client, ref string) (_ StreamsRound, err error) {
	gateway := strconv.Itoa(stack.Processes()["gateway"])
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sub := client.Submission{Questions: Questions()[:1], AudioRef: ref}
	jobs := make([]string, cfg.Streams)
	for i := range jobs {
		if i > 0 && i%2 == 0 {
			jobs[i] = jobs[0]
			continue
		}
		job, err := gw.Submit(ctx, sub, nil, client.SubmitOptions{})
		if err != nil {
			return StreamsRound{}, err
		}
		jobs[i] = job.ID
	}
	r := StreamsRound{Streams: cfg.Streams, Before: resident(gateway)}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	var mu sync.Mutex
	var ends []time.Time
	var told sync.WaitGroup
	defer told.Wait()
	defer cancel() // before the wait: streams of other jobs do not end
	began := time.Now()
	opening, opened := errgroup.WithContext(ctx)
	opening.SetLimit(openingAtOnce)
	for i, id := range jobs {
		opening.Go(func() error {
			lines, stop, err := openStream(ctx, transport, stack.GatewayURL()+"/v1/jobs/"+id+"/events")
			if err != nil {
				return err
			}
			told.Go(func() {
				defer stop()
				if untilEvent(lines, client.EventEnd) == nil && i%2 == 0 {
					mu.Lock()
					defer mu.Unlock()
					ends = append(ends, time.Now())
				}
			})
			return opened.Err()
		})
	}
	if err := opening.Wait(); err != nil {
		return StreamsRound{}, err
	}
	r.OpenedS, r.Open = time.Since(began).Seconds(), resident(gateway)
	if _, err := gw.Cancel(ctx, jobs[0]); err != nil {
		return StreamsRound{}, err
	}
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		mu.Lock()
		n := len(ends)
		mu.Unlock()
		if n == (cfg.Streams+1)/2 {
			break
		}
		select {
		case <-ctx.Done():
			return StreamsRound{}, ctx.Err()
		case <-ticker.C:
		}
	}
	first, last := ends[0], ends[0]
	for _, at := range ends {
		if at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	r.SpreadS = last.Sub(first).Seconds()
	return r, nil
}

// openStream opens an event stream and returns its lines. No event may come for a long time: no stage works on the job.
func openStream(ctx context.Context, transport http.RoundTripper, url string) (*bufio.Scanner, func(), error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	stop := func() { _ = resp.Body.Close() }
	if resp.StatusCode != http.StatusOK {
		stop()
		return nil, nil, fmt.Errorf("opening an event stream: the gateway answered %d", resp.StatusCode)
	}
	return bufio.NewScanner(resp.Body), stop, nil
}

// untilEvent reads up to an event of a kind.
func untilEvent(lines *bufio.Scanner, kind string) error {
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok && name == kind {
			return nil
		}
	}
	return errors.Join(errors.New("the stream has ended"), lines.Err())
}
