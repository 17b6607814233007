package tensor

// PackRows lays w out, the transpose of a matrix [k, n] of float32 values, for products in precision p. It is Pack for weights that are
// stored [out, in], as most models store them.
func (p *Packed) PackRows(w []float32, n, k int, precision Precision) {
	p.packRows(active(), w, n, k, precision)
}

func (p *Packed) packRows(kr *kernel, w []float32, n, k int, precision Precision) {
	checkShapes(nil, nil, w, 0, n, k)
	p.in, p.out, p.precision = k, n, precision
	t := transposed{w, n, k}
	if kr.pairs.takes(precision) {
		lay(&p.pairs, kr.pairs.tiles, n, roundUp(k, pairUnit)/2, precision.terms(), t.couple)
		return
	}
	lay(&p.floats, kr.tiles, n, k, precision.terms(), func(dst []float32, which part, k0, depth int) { t.pack(kr, dst, k0, depth, which) })
}

// couple lays a part of the rows' values out in pairs, from pair k0 on, depth pairs of each. Values beyond the last are zero.
func (t transposed) couple(dst []uint32, which part, k0, depth int) {
	Parallel(roundUp(t.n, pairColumns)/pairColumns, t.n*depth*16, func(panel int) {
		to := dst[panel*depth*pairColumns:][:depth*pairColumns]
		clear(to)
		for column := range min(pairColumns, t.n-panel*pairColumns) {
			row := t.w[(panel*pairColumns+column)*t.k:][:t.k]
			row = row[min(2*k0, t.k):min(2*(k0+depth), t.k)]
			for i, v := range row {
				to[i/2*pairColumns+column] |= uint32(which.bits(v)) << (16 * (i % 2))
			}
		}
	})
}

// bits is the bfloat16 of the high or the low part of a value.
func (p part) bits(v float32) uint16 {
	b := F32ToBF16(v)
	if p == low {
		return F32ToBF16(v - BF16ToF32(b))
	}
	return b
}
