package tensor

// pairs multiplies bfloat16 in hardware. Its elements are pairs: two values that follow each other in k, the first in the low half.
// Depth is a multiple of 16 pairs. A strip holds a block of 16 pairs of every row of the tile, then the next block; a panel one pair of
// every column, then the next. Numbers below 2^-126 count as zero, in factors and sums.
type pairs struct {
	tiles[uint32]
	// rows sets the 16 pairs at dst to a part of the first 32 values of x, those stride further on to those of the next 32, and so on.
	rows map[part]func(dst []uint32, x []float32, blocks, stride int)
	// halves sets the 32 pairs at dst to a part of the first 32 halves of each of two rows that are neighbours in k, those stride further
	// on to those of the next 32, and so on.
	halves map[part]func(dst []uint32, even, odd []byte, panels, stride int)
}

const (
	pairBlock   = 16            // pairs of a row that lie together in a strip
	pairColumns = 32            // of a tile
	pairUnit    = 2 * pairBlock // values of k that a depth is a multiple of
)

// takes tells whether products in that precision are made of pairs.
func (ps *pairs) takes(p Precision) bool { return ps != nil && p != F32 && p != "" }

// strip lays rows of a left factor out; k0 and depth are in pairs.
func (ps *pairs) strip(dst []uint32, o rowsOf, which part, i0, k0, depth int) {
	round := ps.rows[which]
	values := min(2*depth, o.width-2*k0)
	whole := values / pairUnit
	for i := range ps.mr {
		to := dst[i*pairBlock:]
		if i0+i >= o.m {
			for block := range depth / pairBlock {
				clear(to[block*ps.mr*pairBlock:][:pairBlock])
			}
			continue
		}
		row := o.x[(i0+i)*o.stride+2*k0:][:values]
		round(to, row, whole, ps.mr*pairBlock)
		if rest := row[whole*pairUnit:]; len(rest) > 0 {
			var last [pairUnit]float32
			copy(last[:], rest)
			round(to[whole*ps.mr*pairBlock:], last[:], 1, 0)
		}
	}
}

// panels lays a part of the rows of w from k0 on out, depth pairs of them.
func (ps *pairs) panels(dst []uint32, w HalfMatrix, which part, k0, depth int) {
	round := ps.halves[which]
	Parallel((depth+rowGroup-1)/rowGroup, 2*depth*w.Out*8, func(group int) {
		for l := group * rowGroup; l < min((group+1)*rowGroup, depth); l++ {
			w.couple(dst[l*pairColumns:], 2*(k0+l), depth*pairColumns, round)
		}
	})
}

// couple lays rows k and k+1 of the weights out as one row of every panel; panels lie stride apart. Rows beyond the last are zero.
func (w HalfMatrix) couple(dst []uint32, k, stride int, round func(dst []uint32, even, odd []byte, panels, stride int)) {
	width := 2 * w.Out
	whole := w.Out / pairColumns
	var rows [2][]byte
	var rests [2][2 * pairColumns]byte
	for i := range rows {
		if k+i < w.In {
			rows[i] = w.Data[(k+i)*width:][:width]
			copy(rests[i][:], rows[i][2*whole*pairColumns:])
		}
	}
	switch {
	case rows[1] != nil:
		round(dst, rows[0], rows[1], whole, stride)
	default:
		for p := range whole {
			var even, odd [2 * pairColumns]byte
			if rows[0] != nil {
				copy(even[:], rows[0][2*p*pairColumns:])
			}
			round(dst[p*stride:], even[:], odd[:], 1, 0)
		}
	}
	if w.Out%pairColumns > 0 {
		round(dst[whole*stride:], rests[0][:], rests[1][:], 1, 0)
	}
}
