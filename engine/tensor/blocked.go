package tensor

import (
	"runtime"
	"sync"
)

// Block sizes of the large products, after Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008).
const (
	depthBlock  = 384 // elements of k at a time: a block of rows of x stays in a second-level cache of 512 KB
	rowBlock    = 240 // rows of x in a block
	columnBlock = 40  // panels of w that one block of x meets in one work item
	perWorker   = 8   // work items for each processor, so that none waits long for the last
)

// element is what packed operands consist of: a value, or a pair of bfloat16 that follow each other in k.
type element interface{ float32 | uint32 }

// tiles is one implementation of the register tile.
type tiles[E element] struct {
	mr, nr int // rows and columns of the tile
	unit   int // depth is a multiple of it
	// tile adds a·b to the mr x nr tile at c, whose rows lie stride apart. a holds depth groups of mr elements, b depth groups of nr.
	tile func(depth int, a, b []E, c []float32, stride int)
}

// operands lays both factors of a product out as tiles want them. The product is the sum of several terms.
type operands[E element] interface {
	terms() int
	// strip lays the elements [k0, k0+depth) of the rows of x from i0 on out; rows beyond the last are zero.
	strip(dst []E, term, i0, k0, depth int)
	// panels lays the elements [k0, k0+depth) of each column of w out: a panel after another, each of depth groups of nr. Columns
	// beyond the last are zero.
	panels(dst []E, term, k0, depth int)
}

// blocked is one large product dst[m,n] = x·w, with what is done to dst before and after.
type blocked[E element] struct {
	tiles[E]
	operands operands[E]
	pool     *pool[E]
	dst      []float32
	m, n, k  int // k in elements
	fused    Fused
}

// Fused is what a product does with dst besides writing to it; the zero value is nothing.
type Fused struct {
	// Bias [n] is added to every row.
	Bias []float32
	// Accumulate adds the product to what dst holds.
	Accumulate bool
	// Activate is called once for every element of dst when its sum is ready, with a part of a row.
	Activate func(part []float32)
}

// run computes the product, one block of depth after another: both operands are packed in the order in which the register tiles
// read them, then blocks of rows and columns are shared out among the processors.
func (p *blocked[E]) run() {
	if p.m == 0 || p.n == 0 {
		return
	}
	depth := roundUp(evenBlock(p.k, depthBlock), p.unit)
	left, right := p.pool.borrow(roundUp(p.m, p.mr)*depth), p.pool.borrow(roundUp(p.n, p.nr)*depth)
	defer p.pool.giveBack(left)
	defer p.pool.giveBack(right)
	if p.k == 0 {
		p.each(func(r region) { p.begin(r); p.finish(r) })
	}
	for k0 := 0; k0 < p.k; k0 += depth {
		d := min(depth, p.k-k0)
		for term := range p.operands.terms() {
			Parallel(roundUp(p.m, p.mr)/p.mr, p.m*d*8, func(s int) { p.operands.strip(left.v[s*p.mr*d:][:p.mr*d], term, s*p.mr, k0, d) })
			p.operands.panels(right.v, term, k0, d)
			p.each(func(r region) {
				if k0 == 0 && term == 0 {
					p.begin(r)
				}
				p.multiply(r, left.v, right.v, d)
				if k0+d == p.k && term == p.operands.terms()-1 {
					p.finish(r)
				}
			})
		}
	}
}

// evenBlock is the size of the blocks, at most limit, when n is cut as evenly as possible.
func evenBlock(n, limit int) int {
	count := max((n+limit-1)/limit, 1)
	return (n + count - 1) / count
}

// region is the rows [i0, i1) and columns [j0, j1) of dst; i0 and j0 are where a tile begins.
type region struct{ i0, i1, j0, j1 int }

// each calls do for regions that cover dst, in parallel.
func (p *blocked[E]) each(do func(r region)) {
	rows := rowBlock / p.mr * p.mr
	blocks := (p.m + rows - 1) / rows
	panels := roundUp(p.n, p.nr) / p.nr
	wide := min(max(panels*blocks/(perWorker*runtime.GOMAXPROCS(0)), 1), columnBlock)
	parts := (panels + wide - 1) / wide
	Parallel(blocks*parts, p.m*p.n*max(p.k, 1), func(item int) {
		i0, j0 := item/parts*rows, item%parts*wide*p.nr
		do(region{i0, min(i0+rows, p.m), j0, min(j0+wide*p.nr, p.n)})
	})
}

// begin sets dst to what the product is added to.
func (p *blocked[E]) begin(r region) {
	for i := r.i0; i < r.i1; i++ {
		row := p.dst[i*p.n+r.j0 : i*p.n+r.j1]
		switch {
		case !p.fused.Accumulate && p.fused.Bias != nil:
			copy(row, p.fused.Bias[r.j0:])
		case !p.fused.Accumulate:
			clear(row)
		case p.fused.Bias != nil:
			Add(row, p.fused.Bias[r.j0:])
		}
	}
}

func (p *blocked[E]) finish(r region) {
	if p.fused.Activate == nil {
		return
	}
	for i := r.i0; i < r.i1; i++ {
		p.fused.Activate(p.dst[i*p.n+r.j0 : i*p.n+r.j1])
	}
}

// multiply adds the products of the packed blocks to the region, tile by tile.
func (p *blocked[E]) multiply(r region, left, right []E, depth int) {
	for j := r.j0; j < r.j1; j += p.nr {
		b := right[j*depth:][:p.nr*depth]
		for i := r.i0; i < r.i1; i += p.mr {
			a := left[i*depth:][:p.mr*depth]
			if i+p.mr <= p.m && j+p.nr <= p.n {
				p.tile(depth, a, b, p.dst[i*p.n+j:], p.n)
				continue
			}
			p.edge(i, j, depth, a, b)
		}
	}
}

// edge is a tile of which only a part lies inside dst. The tile adds to what dst holds, as a whole tile does: a sum rounded before it
// is added would depend on how many rows there are.
func (p *blocked[E]) edge(i0, j0, depth int, a, b []E) {
	sums := borrow(p.mr * p.nr)
	defer giveBack(sums)
	clear(sums.v)
	rows, cols := min(p.mr, p.m-i0), min(p.nr, p.n-j0)
	for i := range rows {
		copy(sums.v[i*p.nr:][:cols], p.dst[(i0+i)*p.n+j0:])
	}
	p.tile(depth, a, b, sums.v, p.nr)
	for i := range rows {
		copy(p.dst[(i0+i)*p.n+j0:][:cols], sums.v[i*p.nr:])
	}
}

// scratch is memory that products use again.
type scratch[E element] struct{ v []E }

type pool[E element] struct{ free sync.Pool }

func (p *pool[E]) borrow(n int) *scratch[E] {
	s, ok := p.free.Get().(*scratch[E])
	if !ok {
		s = new(scratch[E])
	}
	if cap(s.v) < n {
		s.v = make([]E, n)
	}
	s.v = s.v[:n]
	return s
}

func (p *pool[E]) giveBack(s *scratch[E]) { p.free.Put(s) }

var (
	floatPool pool[float32]
	pairPool  pool[uint32]
)

func borrow(n int) *scratch[float32] { return floatPool.borrow(n) }

func giveBack(s *scratch[float32]) { floatPool.giveBack(s) }
