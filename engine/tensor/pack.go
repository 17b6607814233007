package tensor

// rowsOf are the rows of a left factor.
type rowsOf struct {
	x                []float32
	m, stride, width int // rows, how far apart they begin, and values of each
}

// strip is depth groups of mr values.
func (o rowsOf) strip(kr *kernel, dst []float32, p part, i0, k0, depth int) {
	o.interleave(kr, dst, i0, k0, depth)
	p.round(dst)
}

func (o rowsOf) interleave(kr *kernel, dst []float32, i0, k0, depth int) {
	mr := kr.mr
	row := func(i int) []float32 { return o.x[(i0+i)*o.stride+k0:][:depth] }
	i := 0
	for ; i+4 <= mr && i0+i+4 <= o.m && depth > 0; i += 4 {
		kr.interleave(dst[i:], o.x[(i0+i)*o.stride+k0:], o.stride, mr, depth)
	}
	for ; i+2 <= mr && i0+i+2 <= o.m; i += 2 {
		first, second := row(i), row(i+1)
		for l, v := range first {
			d := dst[l*mr+i : l*mr+i+2 : l*mr+i+2]
			d[0], d[1] = v, second[l]
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
		t.packPanel(kr, panel, i*nr, k0, depth)
		p.round(panel)
	})
}

// packPanel is one panel, of columns from j0 on.
func (t transposed) packPanel(kr *kernel, dst []float32, j0, k0, depth int) {
	nr := kr.nr
	for j := 0; j < nr; j += 4 {
		if j0+j+4 <= t.n && depth > 0 {
			kr.interleave(dst[j:], t.w[(j0+j)*t.k+k0:], t.k, nr, depth)
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

// interleaveGo takes the four rows together, so that writes go to the cache in groups.
func interleaveGo(dst, x []float32, stride, apart, depth int) {
	r0, r1, r2, r3 := x[:depth], x[stride:][:depth], x[2*stride:][:depth], x[3*stride:][:depth]
	for l := range depth {
		d := dst[l*apart : l*apart+4 : l*apart+4]
		d[0], d[1], d[2], d[3] = r0[l], r1[l], r2[l], r3[l]
	}
}
