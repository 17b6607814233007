package ggml

import (
	"errors"
	"fmt"
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

// Close frees the plan and its memory.
func (p *Plan) Close() {
	if p.c != 0 {
		p.lib.c.planFree(p.c)
		p.c = 0
	}
}
