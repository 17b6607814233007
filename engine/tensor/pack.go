package tensor

// rowsOf are the rows of a left factor.
type rowsOf struct {
	x                []float32
	m, stride, width int // rows, how far apart they begin, and values of each
}

// strip is depth groups of mr values.
func (o rowsOf) strip(kr *kernel, dst []float32, p part, i0, k0, depth int) {
	o.interleave(dst, kr.mr, i0, k0, depth)
	p.round(dst)
}

func (o rowsOf) interleave(dst []float32, mr, i0, k0, depth int) {
	row := func(i int) []float32 { return o.x[(i0+i)*o.stride+k0:][:depth] }
	i := 0
	for ; i+2 <= mr && i0+i+2 <= o.m; i += 2 {
		r0, r1 := row(i), row(i+1)
		for l, v := range r0 {
			d := dst[l*mr+i : l*mr+i+2 : l*mr+i+2]
			d[0], d[1] = v, r1[l]
		}
	}
	for ; i < mr; i++ {
		if i0+i >= o.m {
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

func (t transposed) pack(kr *kernel, dst []float32, k0, depth int, p part) {
	nr := kr.nr
	Parallel(roundUp(t.n, nr)/nr, t.n*depth*8, func(i int) {
		panel := dst[i*nr*depth:][:nr*depth]
		t.packPanel(panel, i*nr, k0, depth, nr)
		p.round(panel)
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
