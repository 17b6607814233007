package ggml

import (
	"errors"
	"fmt"
	"runtime"
)

// Graph is the nodes to compute, in order.
type Graph struct {
	ctx *Context
	c   uintptr
}

// Graph collects the nodes that the outputs need. The context must have been made for so many.
func (x *Context) Graph(nodes int, outputs ...Tensor) (*Graph, error) {
	if !x.ready("making graph", outputs...) {
		return nil, x.err
	}
	size := x.lib.c.graphSize(uintptr(nodes), false)
	if nodes < 1 || x.size-x.lib.c.used(x.c) < size {
		return nil, fmt.Errorf("making graph: the context has no room for %d nodes", nodes)
	}
	g := &Graph{ctx: x, c: x.lib.c.newGraph(x.c, uintptr(nodes), false)}
	for _, t := range outputs {
		x.lib.c.expand(g.c, t.p)
	}
	return g, nil
}

// Nodes are the operations of the graph.
func (g *Graph) Nodes() []Tensor {
	nodes := make([]Tensor, g.ctx.lib.c.nodeCount(g.c))
	for i := range nodes {
		nodes[i] = Tensor{lib: g.ctx.lib, p: g.ctx.lib.c.node(g.c, int32(i))}
	}
	return nodes
}

// Unsupported are the nodes that the device cannot compute.
func (g *Graph) Unsupported(d Device) []Tensor {
	var nodes []Tensor
	for _, t := range g.Nodes() {
		if !d.Supports(t) {
			nodes = append(nodes, t)
		}
	}
	return nodes
}

// Buffer is memory of tensors.
type Buffer struct {
	lib *Library
	c   uintptr
}

// Alloc gives memory of the kind to all tensors of the context that have none and are no views. The buffer outlives the context's use.
func (x *Context) Alloc(m Memory) (*Buffer, error) {
	if x.err != nil {
		return nil, x.err
	}
	var c uintptr
	reason := x.lib.native.Explain(func() bool {
		c = x.lib.c.allocIn(x.c, m.c)
		return c != 0
	})
	if c == 0 {
		return nil, fmt.Errorf("allocating tensors in %s: %s", m.Name(), orUnknown(reason))
	}
	return &Buffer{lib: x.lib, c: c}, nil
}

// Bytes is the size of the buffer.
func (b *Buffer) Bytes() int { return int(b.lib.c.bufferSize(b.c)) }

// Weights tells ggml that the buffer holds weights, which a Scheduler leaves where they are.
func (b *Buffer) Weights() { b.lib.c.bufferUsage(b.c, usageWeights) }

const usageWeights = 1 // GGML_BACKEND_BUFFER_USAGE_WEIGHTS

// Close frees the buffer.
func (b *Buffer) Close() {
	if b.c != 0 {
		b.lib.c.bufferFree(b.c)
		b.c = 0
	}
}

// Plan gives a graph's tensors memory, reused as soon as a value is not needed any more (ggml_gallocr).
type Plan struct {
	lib *Library
	c   uintptr
}

// NewPlan makes a plan in a kind of memory.
func (l *Library) NewPlan(m Memory) (*Plan, error) {
	c := l.c.planNew(m.c)
	if c == 0 {
		return nil, errors.New("making plan: no memory")
	}
	return &Plan{lib: l, c: c}, nil
}

// Alloc gives memory to the tensors of the graph that have none. Inputs are set after it.
func (p *Plan) Alloc(g *Graph) error {
	ok := false
	reason := p.lib.native.Explain(func() bool {
		ok = p.lib.c.planAlloc(p.c, g.c)
		return ok
	})
	if !ok {
		return fmt.Errorf("allocating graph: %s", orUnknown(reason))
	}
	return nil
}

// Bytes is how much memory the plan holds.
func (p *Plan) Bytes() int { return int(p.lib.c.planSize(p.c, 0)) }

// Close frees the plan and its memory.
func (p *Plan) Close() {
	if p.c != 0 {
		p.lib.c.planFree(p.c)
		p.c = 0
	}
}

// Scheduler computes each node of a graph on the first of several backends that can, and copies between them.
type Scheduler struct {
	lib      *Library
	c        uintptr
	backends []*Backend
}

// NewScheduler makes a scheduler for graphs of up to so many nodes. The last backend must be a processor: it takes what no other can.
func (l *Library) NewScheduler(nodes int, backends ...*Backend) (*Scheduler, error) {
	if len(backends) == 0 || backends[len(backends)-1].Device.Kind != CPU || nodes < 1 {
		return nil, errors.New("making scheduler: the last backend must be a processor")
	}
	list := make([]uintptr, len(backends))
	for i, b := range backends {
		if b.c == 0 {
			return nil, errors.New("making scheduler: a backend is closed")
		}
		list[i] = b.c
	}
	c := l.c.schedNew(&list[0], 0, int32(len(list)), uintptr(nodes), false, false)
	runtime.KeepAlive(list)
	if c == 0 {
		return nil, errors.New("making scheduler: no memory")
	}
	return &Scheduler{lib: l, c: c, backends: backends}, nil
}

// Alloc gives memory to the graph's tensors, after which its inputs are set. A graph is allocated once.
func (s *Scheduler) Alloc(g *Graph) error {
	ok := false
	s.lib.c.schedReset(s.c)
	reason := s.lib.native.Explain(func() bool {
		ok = s.lib.c.schedAlloc(s.c, g.c)
		return ok
	})
	if !ok {
		return fmt.Errorf("allocating graph: %s", orUnknown(reason))
	}
	return nil
}

// Compute computes the graph that was allocated last.
func (s *Scheduler) Compute(g *Graph) error {
	var status int32
	reason := s.lib.native.Explain(func() bool {
		status = s.lib.c.schedCompute(s.c, g.c)
		return status == 0
	})
	return computed(status, reason)
}

// Splits is in how many parts the allocated graph is computed; 1 when one backend does it all.
func (s *Scheduler) Splits() int { return int(s.lib.c.schedSplits(s.c)) }

// Close frees the scheduler and its memory.
func (s *Scheduler) Close() {
	if s.c != 0 {
		s.lib.c.schedFree(s.c)
		s.c = 0
	}
}
