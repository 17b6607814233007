package traces

import (
	"slices"
	"time"

	"github.com/larkstream/larkstream/shared/telemetry"
)

const (
	// Rows drawn of one trace; the JSON form has all spans.
	maxRows = 2000
	// Deeper spans are drawn at this depth.
	maxDepth = 16
	// Narrower bars would not be seen; in per cent of the whole.
	minBar = 0.15
)

// waterfall is a trace laid out for the page.
type waterfall struct {
	Summary  Summary
	Services []service
	Ticks    []tick
	Rows     []row
	Hidden   int // spans beyond maxRows
}

// service is a service's name, number of spans and colour.
type service struct {
	Name   string
	Spans  int
	Colour int
}

// tick is a mark on the time axis.
type tick struct {
	Left  float64 // per cent
	Label time.Duration
}

// row is one span in the tree. Left and Width are in per cent of the trace's duration.
type row struct {
	Span
	Depth       int
	Colour      int
	Left, Width float64
	Offset      time.Duration
}

func servicesOf(sum Summary) []service {
	out := make([]service, len(sum.Services))
	for i, name := range sum.Services {
		out[i] = service{Name: name, Colour: colourOf(name)}
	}
	return out
}

// colourOf returns a service's colour in the page: our own have one each, strangers share the last two.
func colourOf(name string) int {
	own := []string{
		telemetry.ServiceGateway, telemetry.ServiceChunker, telemetry.ServiceEncoder, telemetry.ServiceProjector, telemetry.ServiceLLM, telemetry.ServiceCLI,
	}
	if i := slices.Index(own, name); i >= 0 {
		return i
	}
	return len(own) + len(name)%2
}

// layOut orders the spans as a tree, parents before children, children by start. Spans whose parent is
// not stored stand at the root; so does one span of a cycle, which only a faulty sender can make.
func layOut(sum Summary, spans []Span) waterfall {
	w := waterfall{Summary: sum, Ticks: ticks(sum.Duration)}
	w.Services = servicesOf(sum)
	known := make(map[string]bool, len(spans))
	for _, s := range spans {
		known[s.SpanID] = true
		w.Services[slices.Index(sum.Services, s.Service)].Spans++
	}
	children := map[string][]Span{}
	for _, s := range spans {
		parent := s.ParentID
		if !known[parent] {
			parent = ""
		}
		children[parent] = append(children[parent], s)
	}
	t := tree{children: children, drawn: make(map[string]bool, len(spans))}
	t.visit(children[""], 0)
	for _, s := range spans {
		t.visit([]Span{s}, 0)
	}
	w.Hidden = max(len(t.out)-maxRows, 0)
	for _, r := range t.out[:min(len(t.out), maxRows)] {
		w.Rows = append(w.Rows, place(r, sum))
	}
	return w
}

// tree collects spans depth first.
type tree struct {
	children map[string][]Span
	drawn    map[string]bool
	out      []row
}

// visit walks with its own stack: a hostile sender can chain spans as deep as a trace is long.
func (t *tree) visit(roots []Span, depth int) {
	stack := make([]row, 0, len(roots))
	push := func(spans []Span, depth int) {
		for _, s := range slices.Backward(spans) {
			stack = append(stack, row{Span: s, Depth: min(depth, maxDepth)})
		}
	}
	push(roots, depth)
	for len(stack) > 0 {
		r := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if t.drawn[r.SpanID] {
			continue
		}
		t.drawn[r.SpanID] = true
		t.out = append(t.out, r)
		push(t.children[r.SpanID], r.Depth+1)
	}
}

// place gives a row its bar.
func place(r row, sum Summary) row {
	r.Colour, r.Offset = colourOf(r.Service), r.Start.Sub(sum.Start)
	total := float64(max(sum.Duration, 1))
	r.Left = clamp(100*float64(r.Offset)/total, 0, 100-minBar)
	r.Width = clamp(100*float64(r.Duration())/total, minBar, 100-r.Left)
	return r
}

func clamp(v, low, high float64) float64 { return min(max(v, low), high) }

// ticks divides the trace's time into quarters.
func ticks(total time.Duration) []tick {
	out := make([]tick, 0, 5)
	for i := range 5 {
		out = append(out, tick{Left: float64(i) * 25, Label: total * time.Duration(i) / 4})
	}
	return out
}
