package tensor

import "runtime"

// Block sizes of the large products, after Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008).
const (
	depthBlock  = 384 // elements of k at a time: a block of rows of x stays in a second-level cache of 512 KB
	rowBlock    = 240 // rows of x in a block
	columnBlock = 40  // panels of w that one block of x meets in one work item
	perWorker   = 8   // work items for each processor, so that none waits long for the last
)

// blocked is one large product dst[m,n] = x[m,k]·w, with what is done to dst before and after.
type blocked struct {
	kr      *kernel
	dst, x  []float32
	stride  int // between the rows of x
	m, n, k int
	w       panels
	fused   Fused
}

// panels is a matrix of weights that can be laid out in panels.
type panels interface {
	// pack lays the elements [k0, k0+depth) of each column out: a panel after another, each of depth groups of nr values, one a
	// column. Columns beyond the last are zero.
	pack(kr *kernel, dst []float32, k0, depth int)
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
func (p *blocked) run() {
	if p.m == 0 || p.n == 0 {
		return
	}
	mr, nr := p.kr.mr, p.kr.nr
	depth := evenBlock(p.k, depthBlock)
	left, right := borrow(roundUp(p.m, mr)*depth), borrow(roundUp(p.n, nr)*depth)
	defer giveBack(left)
	defer giveBack(right)
	if p.k == 0 {
		p.each(func(r region) { p.begin(r); p.finish(r) })
	}
	for k0 := 0; k0 < p.k; k0 += depth {
		d := min(depth, p.k-k0)
		Parallel(roundUp(p.m, mr)/mr, p.m*d*8, func(s int) { p.packStrip(left.v[s*mr*d:][:mr*d], s*mr, k0, d) })
		p.w.pack(p.kr, right.v, k0, d)
		p.each(func(r region) {
			if k0 == 0 {
				p.begin(r)
			}
			p.multiply(r, left.v, right.v, d)
			if k0+d == p.k {
				p.finish(r)
			}
		})
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
func (p *blocked) each(do func(r region)) {
	rows := rowBlock / p.kr.mr * p.kr.mr
	blocks := (p.m + rows - 1) / rows
	panels := roundUp(p.n, p.kr.nr) / p.kr.nr
	wide := min(max(panels*blocks/(perWorker*runtime.GOMAXPROCS(0)), 1), columnBlock)
	parts := (panels + wide - 1) / wide
	Parallel(blocks*parts, p.m*p.n*max(p.k, 1), func(item int) {
		i0, j0 := item/parts*rows, item%parts*wide*p.kr.nr
		do(region{i0, min(i0+rows, p.m), j0, min(j0+wide*p.kr.nr, p.n)})
	})
}

// begin sets dst to what the product is added to.
func (p *blocked) begin(r region) {
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

func (p *blocked) finish(r region) {
	if p.fused.Activate == nil {
		return
	}
	for i := r.i0; i < r.i1; i++ {
		p.fused.Activate(p.dst[i*p.n+r.j0 : i*p.n+r.j1])
	}
}

// multiply adds the products of the packed blocks to the region, tile by tile.
func (p *blocked) multiply(r region, left, right []float32, depth int) {
	mr, nr := p.kr.mr, p.kr.nr
	for j := r.j0; j < r.j1; j += nr {
		b := right[j*depth:][:nr*depth]
		for i := r.i0; i < r.i1; i += mr {
			a := left[i*depth:][:mr*depth]
			if i+mr <= p.m && j+nr <= p.n {
				p.kr.tile(depth, a, b, p.dst[i*p.n+j:], p.n)
				continue
			}
			p.edge(i, j, depth, a, b)
		}
	}
}

// edge is a tile of which only a part lies inside dst.
func (p *blocked) edge(i0, j0, depth int, a, b []float32) {
	nr := p.kr.nr
	sums := borrow(p.kr.mr * nr)
	defer giveBack(sums)
	clear(sums.v)
	p.kr.tile(depth, a, b, sums.v, nr)
	cols := min(nr, p.n-j0)
	for i := range min(p.kr.mr, p.m-i0) {
		Add(p.dst[(i0+i)*p.n+j0:][:cols], sums.v[i*nr:])
	}
}

// packStrip lays the elements [k0, k0+depth) of mr rows of x from i0 on out as depth groups of mr values; rows beyond m are zero.
func (p *blocked) packStrip(dst []float32, i0, k0, depth int) {
	mr := p.kr.mr
	row := func(i int) []float32 { return p.x[(i0+i)*p.stride+k0:][:depth] }
	i := 0
	for ; i+2 <= mr && i0+i+2 <= p.m; i += 2 {
		r0, r1 := row(i), row(i+1)
		for l, v := range r0 {
			d := dst[l*mr+i : l*mr+i+2 : l*mr+i+2]
			d[0], d[1] = v, r1[l]
		}
	}
	for ; i < mr; i++ {
		if i0+i >= p.m {
			for l := range depth {
				dst[l*mr+i] = 0
			}
			continue
		}
		for l, v := range row(i) {
			dst[l*mr+i] = v
		}
	}
}

// transposed is a matrix of weights stored [n, k].
type transposed struct {
	w    []float32
	n, k int
}

func (t transposed) pack(kr *kernel, dst []float32, k0, depth int) {
	nr := kr.nr
	Parallel(roundUp(t.n, nr)/nr, t.n*depth*8, func(p int) {
		t.packPanel(dst[p*nr*depth:][:nr*depth], p*nr, k0, depth, nr)
	})
}

// packPanel is one panel, of columns from j0 on.
func (t transposed) packPanel(dst []float32, j0, k0, depth, nr int) {
	for j := 0; j < nr; j += 4 {
		if j0+j+4 <= t.n {
			pack4(dst[j:], t.w[(j0+j)*t.k+k0:], t.k, depth, nr)
			continue
		}
		for jj := j; jj < j+4; jj++ {
			for l := range depth {
				v := float32(0)
				if j0+jj < t.n {
					v = t.w[(j0+jj)*t.k+k0+l]
				}
				dst[l*nr+jj] = v
			}
		}
	}
}

// pack4 interleaves four rows that lie stride apart, so that writes go to the cache in groups.
func pack4(dst, w []float32, stride, depth, nr int) {
	r0, r1, r2, r3 := w[:depth], w[stride:][:depth], w[2*stride:][:depth], w[3*stride:][:depth]
	for l := range depth {
		d := dst[l*nr : l*nr+4 : l*nr+4]
		d[0], d[1], d[2], d[3] = r0[l], r1[l], r2[l], r3[l]
	}
}
