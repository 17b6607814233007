package tensor

import "runtime"

// Large products are computed in regions of the result, after Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication"
// (2008). Both factors are laid out in the order in which register tiles read them. For each block of depth, a strip of rows of the left
// factor stays in the first-level cache while the region's panels of the right factor pass by, which stay in the second-level cache for
// the next strip. The sums of a region stay in memory of its own, tile by tile, until they are complete.
const (
	rowBlock    = 480  // rows of a region
	columnBlock = 320  // columns of a region
	rowsAtOnce  = 2048 // of the left factor are laid out, which bounds the memory for them
	perWorker   = 8    // regions for each processor, so that none waits long for the last
)

// element is what packed operands consist of: a value, or a pair of bfloat16 that follow each other in k.
type element interface{ float32 | uint32 }

// tiles is one implementation of the register tile.
type tiles[E element] struct {
	mr, nr int // rows and columns of the tile
	unit   int // depth is a multiple of it
	block  int // elements of k at a time
	// tile adds a·b to count tiles of mr x nr, one after another in c. a holds depth groups of mr elements, or in another order that suits
	// the tile, b count panels of depth groups of nr, one after another.
	tile func(depth, count int, a, b []E, c []float32)
}

// blocks calls do for the blocks of k elements, which is a multiple of unit; they are as even as can be.
func (t tiles[E]) blocks(k int, do func(k0, depth int)) {
	depth := even(k, t.block, t.unit)
	for k0 := 0; k0 < k; k0 += depth {
		do(k0, min(depth, k-k0))
	}
}

// even is the size of pieces of n, a multiple of unit and about limit at most, when n is cut as evenly as possible.
func even(n, limit, unit int) int {
	count := max((n+limit-1)/limit, 1)
	return max(roundUp((n+count-1)/count, unit), unit)
}

// parts are the parts of a factor's values, each laid out alone.
type parts[E element] [low + 1][]E

// factor is the right factor of products, [k, n], as panels: for each block of depth all panels one after another, each of depth groups
// of nr. Columns beyond the last are zero, and so are elements beyond the last of k.
type factor[E element] struct {
	n, k  int // k in elements, a multiple of the tile's unit
	parts parts[E]
}

// size is how many elements each part of a factor of n columns has.
func (t tiles[E]) size(n, k int) int { return roundUp(n, t.nr) * k }

// blocked is one large product dst[m, n] = x·w, with what is done to dst before and after.
type blocked[E element] struct {
	tiles[E]
	// strip lays a part of the elements [k0, k0+depth) of the rows of x from i0 on out as the tile wants them; rows beyond the last are zero.
	strip func(dst []E, p part, i0, k0, depth int)
	right factor[E]
	terms []term // whose sum the product is
	pool  *pool[E]
	kr    *kernel
	dst   []float32
	m     int
	fused Fused
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

// run computes the product, some rows after others.
func (p *blocked[E]) run() {
	if p.right.n == 0 {
		return
	}
	step := even(p.m, rowsAtOnce, p.mr)
	for first := 0; first < p.m; first += step {
		p.rows(first, min(step, p.m-first))
	}
}

// rows computes rows of the product: they are laid out, then regions are shared out among the processors.
func (p *blocked[E]) rows(first, rows int) {
	high := roundUp(rows, p.mr)
	var left parts[E]
	for _, t := range p.terms {
		if left[t.x] == nil {
			packed := p.pool.borrow(high * p.right.k)
			defer p.pool.giveBack(packed)
			left[t.x] = packed.v
		}
	}
	Parallel(high/p.mr, rows*p.right.k*8, func(s int) {
		for which, packed := range left {
			if packed != nil {
				p.blocks(p.right.k, func(k0, depth int) {
					p.strip(packed[high*k0+s*p.mr*depth:][:p.mr*depth], part(which), first+s*p.mr, k0, depth)
				})
			}
		}
	})
	p.each(rows, func(r region) { p.multiply(r, first, high, left) })
}

// region is the rows [i0, i1) of those laid out, and columns [j0, j1) of dst; i0 and j0 are where a tile begins.
type region struct{ i0, i1, j0, j1 int }

// each calls do for regions that cover all columns of so many rows, in parallel.
func (p *blocked[E]) each(rows int, do func(r region)) {
	n := p.right.n
	high := even(rows, rowBlock, p.mr)
	blocks := (rows + high - 1) / high
	panels := roundUp(n, p.nr) / p.nr
	wide := min(max(panels*blocks/(perWorker*runtime.GOMAXPROCS(0)), 1), columnBlock/p.nr)
	across := (panels + wide - 1) / wide
	Parallel(blocks*across, rows*n*max(p.right.k, 1), func(item int) {
		i0, j0 := item/across*high, item%across*wide*p.nr
		do(region{i0, min(i0+high, rows), j0, min(j0+wide*p.nr, n)})
	})
}

// multiply computes a region of the rows from first on, of which high are laid out.
func (p *blocked[E]) multiply(r region, first, high int, left parts[E]) {
	wide, panels := roundUp(p.right.n, p.nr), (r.j1-r.j0+p.nr-1)/p.nr
	strip := panels * p.nr * p.mr
	sums := borrow((r.i1 - r.i0 + p.mr - 1) / p.mr * strip)
	defer giveBack(sums)
	clear(sums.v)
	p.blocks(p.right.k, func(k0, depth int) {
		for _, t := range p.terms {
			b := p.right.parts[t.w][wide*k0+r.j0*depth:][:panels*p.nr*depth]
			for i := r.i0; i < r.i1; i += p.mr {
				a := left[t.x][high*k0+i*depth:][:p.mr*depth]
				p.tile(depth, panels, a, b, sums.v[(i-r.i0)/p.mr*strip:][:strip])
			}
		}
	})
	for i := r.i0; i < r.i1; i++ {
		p.finish(p.dst[(first+i)*p.right.n:], r, sums.v[(i-r.i0)/p.mr*strip+(i-r.i0)%p.mr*p.nr:])
	}
}

// finish writes a row of a region; sums holds its part of the first tile, those of the next tiles as far apart as tiles are.
func (p *blocked[E]) finish(row []float32, r region, sums []float32) {
	row = row[r.j0:r.j1]
	if p.fused.Accumulate {
		for at := 0; at < len(row); at += p.nr {
			to := row[at:min(at+p.nr, len(row))]
			p.kr.add(to, sums[at*p.mr:][:len(to)])
		}
	} else {
		p.kr.spread(row, sums, p.mr*p.nr)
	}
	if p.fused.Bias != nil {
		p.kr.add(row, p.fused.Bias[r.j0:r.j1])
	}
	if p.fused.Activate != nil {
		p.fused.Activate(row)
	}
}
