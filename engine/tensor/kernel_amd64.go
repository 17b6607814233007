package tensor

import (
	"math"
	"slices"

	"golang.org/x/sys/cpu"
)

//go:generate go run ./internal/asmgen -out kernels_amd64.s -stubs kernels_amd64.go -pkg tensor

// candidates lists the kernels that this processor has the instructions for, fastest first. golang.org/x/sys/cpu tells those of AVX only
// where XCR0 says that the system saves their registers.
func candidates() []candidate {
	list := []candidate{{"go", func() (*kernel, error) { return goKernel(), nil }}}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasF16C {
		list = append(list, candidate{"avx2", func() (*kernel, error) { return avx2(), nil }})
	}
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ {
		list = append(list, candidate{"avx512", func() (*kernel, error) { return avx512("avx512", nil), nil }})
		if cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512BF16 {
			list = append(list, candidate{"avx512bf16", func() (*kernel, error) { return avx512("avx512bf16", vectorPairs()), nil }})
			if cpu.X86.HasAMXTile && cpu.X86.HasAMXBF16 {
				list = append(list, candidate{"amx", matrixKernel})
			}
		}
	}
	slices.Reverse(list)
	return list
}

func avx2() *kernel {
	return &kernel{
		name: "avx2", tiles: tiles[float32]{6, 16, 1, 384, tileAVX2},
		dot4: vectorDot4(dot4AVX2, 8), weigh: vectorWeigh(weighAVX2, 8), exp: vectorExp(expAVX2, 8),
		halves: vectorHalves(halvesAVX2, 8), swish: vectorSwish(swishAVX2, 8),
		deviations: vectorDeviations, squares: vectorSquares, standardise: vectorStandardise(standardiseAVX2, 8),
		add: vectorAdd(addAVX2, 8), interleave: vectorInterleave(interleaveAVX2, 8),
		greatest: vectorGreatest(greatestAVX2, 8), expSum: vectorExpSum(expSumAVX2, 8), scale: vectorScale(scaleAVX2, 8), gelu: vectorGELU(geluAVX2, 8),
		spread: vectorSpread(spreadAVX2, 8),
	}
}

func avx512(name string, p *pairs) *kernel {
	return &kernel{
		name: name, tiles: tiles[float32]{12, 32, 1, 384, tileAVX512}, pairs: p,
		dot4: vectorDot4(dot4AVX512, 16), weigh: vectorWeigh(weighAVX512, 16), exp: vectorExp(expAVX512, 16),
		halves: vectorHalves(halvesAVX512, 16), swish: vectorSwish(swishAVX512, 16),
		deviations: vectorDeviations, squares: vectorSquares, standardise: vectorStandardise(standardiseAVX512, 16),
		add: vectorAdd(addAVX512, 16), interleave: vectorInterleave(interleaveAVX512, 16),
		greatest: vectorGreatest(greatestAVX512, 16), expSum: vectorExpSum(expSumAVX512, 16), scale: vectorScale(scaleAVX512, 16),
		gelu: vectorGELU(geluAVX512, 16), spread: vectorSpread(spreadAVX512, 16),
	}
}

// vectorPairs multiplies bfloat16 in vector registers.
func vectorPairs() *pairs {
	return pairsOf(tiles[uint32]{12, pairColumns, pairBlock, 384, tilePairsAVX512})
}

func pairsOf(t tiles[uint32]) *pairs {
	return &pairs{
		tiles:  t,
		rows:   map[part]func(dst []uint32, x []float32, blocks, stride int){high: packPairsHigh, low: packPairsLow},
		halves: map[part]func(dst []uint32, even, odd []byte, panels, stride int){high: packHalvesHigh, low: packHalvesLow},
	}
}

// vectorDot4 runs an assembly kernel on whole vectors of x, and adds what is left over in Go.
func vectorDot4(dot func(dst, x, w []float32, vectors, stride int), lanes int) func(dst, x, w []float32) {
	return func(dst, x, w []float32) {
		k := len(x)
		w = w[:4*k]
		dot(dst[:4], x, w, k/lanes, k)
		for l := k / lanes * lanes; l < k; l++ {
			dst[0] += x[l] * w[l]
			dst[1] += x[l] * w[k+l]
			dst[2] += x[l] * w[2*k+l]
			dst[3] += x[l] * w[3*k+l]
		}
	}
}

// vectorWeigh runs an assembly kernel on whole vectors and four rows at a time, and does what is left over in Go.
func vectorWeigh(weigh func(dst, weights, rows []float32, steps, stride int), lanes int) func(dst, weights, rows []float32) {
	return func(dst, weights, rows []float32) {
		width, steps := len(dst), len(weights)/4
		rows = rows[:len(weights)*width]
		whole := width / lanes * lanes
		for c := 0; c < whole && steps > 0; c += lanes {
			weigh(dst[c:c+lanes], weights, rows[c:], steps, width)
		}
		for i, w := range weights {
			first := whole
			if i >= 4*steps {
				first = 0
			}
			for c := first; c < width; c++ {
				dst[c] += w * rows[i*width+c]
			}
		}
	}
}

// vectorExp runs an assembly kernel on whole vectors, and does the rest in Go.
func vectorExp(exp func(x []float32, vectors int), lanes int) func(x []float32) {
	return func(x []float32) {
		whole := len(x) / lanes
		exp(x, whole)
		expGo(x[whole*lanes:])
	}
}

// vectorSwish runs an assembly kernel on whole vectors, and does the rest in Go.
func vectorSwish(swish func(x []float32, slope float32, vectors int), lanes int) func(x []float32, slope float32) {
	return func(x []float32, slope float32) {
		whole := len(x) / lanes
		swish(x, slope, whole)
		swishGo(x[whole*lanes:], slope)
	}
}

// vectorDeviations adds what follows whole vectors to the first sum, as plain Go does.
func vectorDeviations(x []float32, mean float64) float64 {
	var sums [4]float64
	whole := len(x) / 4
	deviations(sums[:], x, mean, whole)
	for _, v := range x[4*whole:] {
		sums[0] += float64(v) - mean
	}
	return sums[0] + sums[1] + sums[2] + sums[3]
}

func vectorSquares(x []float32, mean float64) float64 {
	var sums [4]float64
	whole := len(x) / 4
	squares(sums[:], x, mean, whole)
	for _, v := range x[4*whole:] {
		sums[0] += (float64(v) - mean) * (float64(v) - mean)
	}
	return sums[0] + sums[1] + sums[2] + sums[3]
}

// vectorStandardise runs an assembly kernel on whole vectors, and does the rest in Go.
func vectorStandardise(f func(dst, x, weight, bias []float32, mean, scale float32, vectors int), lanes int) func(dst, x, weight, bias []float32, mean, scale float32) {
	return func(dst, x, weight, bias []float32, mean, scale float32) {
		dst, weight, bias = dst[:len(x)], weight[:len(x)], bias[:len(x)]
		whole := len(x) / lanes
		f(dst, x, weight, bias, mean, scale, whole)
		rest := whole * lanes
		standardiseGo(dst[rest:], x[rest:], weight[rest:], bias[rest:], mean, scale)
	}
}

// vectorHalves runs an assembly kernel on whole vectors, and does the rest in Go.
func vectorHalves(halves func(dst []float32, src []byte, vectors int), lanes int) func(dst []float32, src []byte) {
	return func(dst []float32, src []byte) {
		src = src[:2*len(dst)]
		whole := len(dst) / lanes
		halves(dst, src, whole)
		halvesGo(dst[whole*lanes:], src[2*whole*lanes:])
	}
}

// vectorAdd runs an assembly kernel on whole vectors, and does the rest in Go.
func vectorAdd(add func(dst, x []float32, vectors int), lanes int) func(dst, x []float32) {
	return func(dst, x []float32) {
		x = x[:len(dst)]
		whole := len(dst) / lanes
		add(dst, x, whole)
		addGo(dst[whole*lanes:], x[whole*lanes:])
	}
}

// vectorInterleave runs an assembly kernel on whole vectors, and does the rest in Go.
func vectorInterleave(interleave func(dst, x []float32, stride, apart, vectors int), lanes int) func(dst, x []float32, stride, apart, depth int) {
	return func(dst, x []float32, stride, apart, depth int) {
		whole := depth / lanes * lanes
		_, _ = x[3*stride+depth-1], dst[(depth-1)*apart+3]
		interleave(dst, x, stride, apart, whole/lanes)
		if whole < depth {
			interleaveGo(dst[whole*apart:], x[whole:], stride, apart, depth-whole)
		}
	}
}

// vectorGreatest runs an assembly kernel on whole vectors, and does the rest in Go.
func vectorGreatest(greatest func(dst, x []float32, vectors int), lanes int) func(x []float32) float32 {
	return func(x []float32) float32 {
		whole := len(x) / lanes
		rest := x[whole*lanes:]
		var buf [16]float32
		found := buf[:lanes]
		for i := range found {
			found[i] = float32(math.Inf(-1))
		}
		greatest(found, x, whole)
		return max(greatestGo(found), greatestGo(rest))
	}
}

// vectorExpSum runs an assembly kernel on whole vectors, and does the rest in Go.
func vectorExpSum(expSum func(dst, x []float32, high float32, vectors int), lanes int) func(x []float32, high float32) float32 {
	return func(x []float32, high float32) float32 {
		whole := len(x) / lanes
		var buf [16]float32
		sums := buf[:lanes]
		expSum(sums, x, high, whole)
		return sum(sums) + expSumGo(x[whole*lanes:], high)
	}
}

// vectorScale runs an assembly kernel on whole vectors, and does the rest in Go.
func vectorScale(scale func(x []float32, by float32, vectors int), lanes int) func(x []float32, by float32) {
	return func(x []float32, by float32) {
		whole := len(x) / lanes
		scale(x, by, whole)
		scaleGo(x[whole*lanes:], by)
	}
}

// vectorGELU runs an assembly kernel on whole vectors, and does the rest in Go.
func vectorGELU(gelu func(x, table []float32, end, steps float32, vectors int), lanes int) func(x []float32) {
	return func(x []float32) {
		whole := len(x) / lanes
		gelu(x, geluTable(), geluEnd, geluSteps, whole)
		geluGo(x[whole*lanes:])
	}
}

// vectorSpread runs an assembly kernel on whole tiles, and does the rest in Go.
func vectorSpread(spread func(dst, from []float32, apart, tiles int), lanes int) func(dst, from []float32, apart int) {
	return func(dst, from []float32, apart int) {
		whole := len(dst) / (2 * lanes)
		if whole > 0 {
			_ = from[(whole-1)*apart+2*lanes-1]
		}
		spread(dst, from, apart, whole)
		if rest := dst[whole*2*lanes:]; len(rest) > 0 {
			copy(rest, from[whole*apart:])
		}
	}
}
