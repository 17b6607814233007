package vllm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	prometheus "github.com/prometheus/common/model"
)

const (
	// freshFor is how long a reading of the server's load is good for.
	freshFor    = time.Second
	loadTimeout = 2 * time.Second
	// fullCache is the share of the server's key-value cache from which on new requests would push running ones out.
	fullCache = 0.95
)

// load is how busy a server is.
type load struct {
	waiting float64 // requests that wait in it
	cache   float64 // share of its key-value cache in use, 0 to 1
}

// load reads the server's /metrics (https://docs.vllm.ai/en/latest/usage/metrics/).
func (c *client) load(ctx context.Context) (load, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	raw, err := c.get(ctx, "metrics")
	if err != nil {
		return load{}, err
	}
	l, err := parseLoad(bytes.NewReader(raw))
	if err != nil {
		return load{}, fmt.Errorf("reading vLLM's /metrics: %w", err)
	}
	return l, nil
}

// parseLoad finds the two gauges in Prometheus text. Of several engines in one server the waiting are summed, and the emptiest cache
// counts: the server sends a request to the engine that has room.
func parseLoad(r io.Reader) (load, error) {
	parser := expfmt.NewTextParser(prometheus.UTF8Validation)
	families, err := parser.TextToMetricFamilies(r)
	if err != nil {
		return load{}, err
	}
	waiting, cache := gauges(families["vllm:num_requests_waiting"]), gauges(families["vllm:kv_cache_usage_perc"])
	if len(waiting) == 0 || len(cache) == 0 {
		return load{}, errors.New("vllm:num_requests_waiting or vllm:kv_cache_usage_perc is missing")
	}
	l := load{cache: 1}
	for _, v := range waiting {
		l.waiting += v
	}
	for _, v := range cache {
		l.cache = min(l.cache, v)
	}
	if !(l.waiting >= 0 && l.waiting < math.MaxInt32 && l.cache >= 0) { // NaN is none of these
		return load{}, fmt.Errorf("%v requests waiting and %v of the cache in use are no load", l.waiting, l.cache)
	}
	return l, nil
}

func gauges(f *dto.MetricFamily) []float64 {
	var values []float64
	for _, m := range f.GetMetric() {
		switch {
		case m.GetGauge() != nil:
			values = append(values, m.GetGauge().GetValue())
		case m.GetUntyped() != nil:
			values = append(values, m.GetUntyped().GetValue())
		}
	}
	return values
}

// gate holds requests back while the server is busy. What it reads is a hint: a server that does not tell its load is taken to have
// room, and one request of ours is always let through, so that there is progress whatever the numbers say.
type gate struct {
	read       func(context.Context) (load, error)
	maxWaiting int
	log        *slog.Logger

	sent   atomic.Int64
	turn   chan struct{} // held by who reads; guards what follows
	at     time.Time     // of the reading
	busy   bool
	silent bool // the server does not tell, and that has been logged
}

func newGate(read func(context.Context) (load, error), maxWaiting int, log *slog.Logger) *gate {
	return &gate{read: read, maxWaiting: maxWaiting, log: log, turn: make(chan struct{}, 1)}
}

// pass waits until a request may be sent. done must be called when it has its answer.
func (g *gate) pass(ctx context.Context) (done func(), err error) {
	done = func() { g.sent.Add(-1) }
	for {
		busy, err := g.isBusy(ctx)
		if err != nil {
			return nil, err
		}
		if !busy {
			g.sent.Add(1)
			return done, nil
		}
		if g.sent.CompareAndSwap(0, 1) {
			return done, nil
		}
		if err := sleep(ctx, freshFor); err != nil {
			return nil, err
		}
	}
}

// isBusy gives the last reading while it is fresh, else a new one. Its error is ctx's error.
func (g *gate) isBusy(ctx context.Context) (bool, error) {
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	if !g.at.IsZero() && time.Since(g.at) < freshFor {
		return g.busy, nil
	}
	l, err := g.read(ctx)
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	g.at = time.Now()
	if err != nil {
		g.busy = false
		if !g.silent {
			g.log.Warn("vLLM does not tell its load: only the number of requests in flight is bounded", "error", err)
		}
		g.silent = true
		return false, nil
	}
	g.busy, g.silent = l.waiting > float64(g.maxWaiting) || l.cache >= fullCache, false
	return g.busy, nil
}
