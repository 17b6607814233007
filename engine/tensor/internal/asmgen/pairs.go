package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The kernels on bfloat16 take pairs: two values that follow each other in k, the first in the low half of 32 bits. A strip of a holds a
// block of 16 pairs of each row after another, a panel of b for each pair of k one of each column, in groups of 32.
const (
	blockPairs  = 16
	pairColumns = 32
	vectorRows  = 12 // of the tile in vector registers: 24 sums of 32
	tileBytes   = 64 // in a row of an AMX tile
	tileRows    = 16
)

// zmm is a vector register by its number, for instructions that are written as bytes.
func zmm(i int) Register { return Vector.Lookup(Index(i), S512) }

// pairsTile is the tile of VDPBF16PS.
func pairsTile() {
	const name = "tilePairsAVX512"
	const low, high, value = 30, 31, 24 // registers: two of b, and four in turns for a
	TEXT(name, NOSPLIT, "func(depth int, a, b []uint32, c []float32, stride int)")
	Pragma("noescape")
	Doc(name + " adds a·b to the 12 x 32 tile at c, whose rows lie stride apart; depth is in pairs, a multiple of 16.")
	depth, a, b := Load(Param("depth"), RCX), Load(Param("a").Base(), RAX), Load(Param("b").Base(), RBX)
	c, stride := Load(Param("c").Base(), RDX), Load(Param("stride"), RSI)
	SHRQ(Imm(4), depth)
	SHLQ(Imm(2), stride)
	prefetchTile(c, stride, RDI, vectorRows, 124)
	for i := range 2 * vectorRows {
		VPXORD(zmm(i), zmm(i), zmm(i))
	}
	loop(name, depth, func() {
		MOVQ(U32(blockPairs), RDI)
		Label(name + "Block")
		VMOVDQU32(Mem{Base: b}, zmm(low))
		VMOVDQU32(Mem{Base: b, Disp: 64}, zmm(high))
		PREFETCHT0(Mem{Base: b, Disp: 512})
		PREFETCHT0(Mem{Base: b, Disp: 576})
		for row := range vectorRows {
			VPBROADCASTD(Mem{Base: a, Disp: 4 * blockPairs * row}, zmm(value+row%4))
			emit(dotPairs(2*row, value+row%4, low))
			emit(dotPairs(2*row+1, value+row%4, high))
		}
		ADDQ(Imm(4), a)
		ADDQ(U32(4*pairColumns), b)
		DECQ(RDI)
		JNE(LabelRef(name + "Block"))
		ADDQ(U32(4*blockPairs*(vectorRows-1)), a)
	})
	for row := range vectorRows {
		for half := range 2 {
			at, sum := Mem{Base: c, Disp: 64 * half}, zmm(2*row+half)
			VADDPS(at, sum, sum)
			VMOVUPS(sum, at)
		}
		ADDQ(stride, c)
	}
	VZEROUPPER()
	RET()
}

// matrixTile is the tile of TDPBF16PS: two by two tiles of c in tmm0 to tmm3. The configuration is loaded and released in the call, so
// that the goroutine may run on another thread the next time.
func matrixTile() {
	const name = "tilePairsAMX"
	config := GLOBL(name+"Config", RODATA|NOPTR)
	DATA(0, U64(1)) // palette 1, from the first row
	DATA(8, U64(0))
	for at := 16; at < 32; at += 8 { // two bytes for each of the eight tiles
		DATA(at, U64(tileBytes*0x0001000100010001))
	}
	for at := 32; at < 48; at += 8 { // reserved: LDTILECFG faults unless these bytes are zero
		DATA(at, U64(0))
	}
	DATA(48, U64(tileRows*0x0101010101010101))
	DATA(56, U64(0))

	TEXT(name, NOSPLIT, "func(depth int, a, b []uint32, c []float32, stride int)")
	Pragma("noescape")
	Doc(name + " adds a·b to the 32 x 32 tile at c, whose rows lie stride apart; depth is in pairs, a multiple of 16.")
	LEAQ(config, RAX)
	emit(configureTiles())
	depth, upper, b := Load(Param("depth"), R11), Load(Param("a").Base(), R8), Load(Param("b").Base(), RDX)
	c, stride := Load(Param("c").Base(), RBX), Load(Param("stride"), RCX)
	SHRQ(Imm(4), depth)
	SHLQ(Imm(2), stride)
	lower, rowsOfA, rowsOfB, below := R10, R9, RSI, RDI
	LEAQ(Mem{Base: upper, Disp: tileRows * tileBytes}, lower)
	MOVQ(U32(tileBytes), rowsOfA)
	MOVQ(U32(4*pairColumns), rowsOfB)
	MOVQ(stride, below)
	SHLQ(Imm(4), below)
	ADDQ(c, below)
	sums := func(each func(tile, base, index int, disp int8) encoded) {
		for tile := range 4 {
			emit(each(tile, []int{rbx, rdi}[tile/2], rcx, int8(tile%2*tileBytes)))
		}
	}
	sums(loadTile)
	loop(name, depth, func() {
		emit(loadTile(4, r8, r9, 0))
		emit(loadTile(6, rdx, rsi, 0))
		emit(multiplyTiles(0, 4, 6))
		emit(loadTile(7, rdx, rsi, tileBytes))
		emit(multiplyTiles(1, 4, 7))
		emit(loadTile(5, r10, r9, 0))
		emit(multiplyTiles(2, 5, 6))
		emit(multiplyTiles(3, 5, 7))
		ADDQ(U32(2*tileRows*tileBytes), upper)
		ADDQ(U32(2*tileRows*tileBytes), lower)
		ADDQ(U32(4*pairColumns*blockPairs), b)
	})
	sums(storeTile)
	emit(releaseTiles())
	RET()
}

// packPairs rounds rows of float32 to pairs, or takes what such rounding leaves.
func packPairs(low bool) {
	name := "packPairs" + half(low)
	TEXT(name, NOSPLIT, "func(dst []uint32, x []float32, blocks, stride int)")
	Pragma("noescape")
	Doc(name+" sets the 16 pairs at dst to the "+halfDoc(low)+" of the first 32 values of x in bfloat16, those that lie stride further on to",
		"those of the next 32, and so on for as many blocks.")
	dst, x := Load(Param("dst").Base(), RAX), Load(Param("x").Base(), RBX)
	blocks, stride := Load(Param("blocks"), RCX), Load(Param("stride"), RDX)
	SHLQ(Imm(2), stride)
	loop(name, blocks, func() {
		VMOVUPS(Mem{Base: x}, zmm(0))
		VMOVUPS(Mem{Base: x, Disp: 64}, zmm(1))
		if low {
			remainder(0)
			remainder(1)
		}
		emit(roundTwo(0, 1, 0))
		VMOVDQU32(zmm(0), Mem{Base: dst})
		ADDQ(U32(128), x)
		ADDQ(stride, dst)
	})
	VZEROUPPER()
	RET()
}

// packHalves rounds two rows of halves, neighbours in k, to pairs.
func packHalves(low bool, order Mem) {
	name := "packHalves" + half(low)
	TEXT(name, NOSPLIT, "func(dst []uint32, even, odd []byte, panels, stride int)")
	Pragma("noescape")
	Doc(name+" sets the 32 pairs at dst to the "+halfDoc(low)+" of the first 32 halves of even and odd in bfloat16, those that lie stride",
		"further on to those of the next 32, and so on for as many panels.")
	dst, even, odd := Load(Param("dst").Base(), RAX), Load(Param("even").Base(), RBX), Load(Param("odd").Base(), RCX)
	panels, stride := Load(Param("panels"), RDX), Load(Param("stride"), RSI)
	SHLQ(Imm(2), stride)
	VMOVDQU32(order, zmm(31))
	loop(name, panels, func() {
		for part := range 2 {
			VCVTPH2PS(Mem{Base: even, Disp: 32 * part}, zmm(0))
			VCVTPH2PS(Mem{Base: odd, Disp: 32 * part}, zmm(1))
			if low {
				remainder(0)
				remainder(1)
			}
			emit(roundTwo(0, 1, 0))
			VPERMW(zmm(0), zmm(31), zmm(0))
			VMOVDQU32(zmm(0), Mem{Base: dst, Disp: 64 * part})
		}
		ADDQ(Imm(64), even)
		ADDQ(Imm(64), odd)
		ADDQ(stride, dst)
	})
	VZEROUPPER()
	RET()
}

// pairOrder are the places of 32 words whose first 16 belong in low halves, and the others in high halves.
func pairOrder() Mem {
	order := GLOBL("pairOrder", RODATA|NOPTR)
	for i := range 2 * blockPairs {
		DATA(2*i, U16(uint16(i/2+i%2*blockPairs)))
	}
	return order
}

// remainder sets x to what rounding it to bfloat16 leaves; it changes the register after the next.
func remainder(x int) {
	emit(roundOne(x+2, x))
	VPMOVZXWD(Vector.Lookup(Index(x+2), S256), zmm(x+2))
	VPSLLD(Imm(16), zmm(x+2), zmm(x+2))
	VSUBPS(zmm(x+2), zmm(x), zmm(x))
}

func half(low bool) string {
	if low {
		return "Low"
	}
	return "High"
}

func halfDoc(low bool) string {
	if low {
		return "remainder"
	}
	return "rounding"
}
