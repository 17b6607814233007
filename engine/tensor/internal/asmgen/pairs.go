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
	TEXT(name, NOSPLIT, "func(depth, count int, a, b []uint32, c []float32)")
	Pragma("noescape")
	Doc(name + " adds a·b to count tiles of 12 x 32, one after another in c; depth is in pairs, a multiple of 16.")
	count, a, b, c := Load(Param("count"), R8), Load(Param("a").Base(), R9), Load(Param("b").Base(), RBX), Load(Param("c").Base(), RDX)
	loop(name+"Tiles", count, func() {
		prefetchTile(c, 4*pairColumns*vectorRows)
		MOVQ(a, RAX)
		depth := Load(Param("depth"), RCX)
		SHRQ(Imm(4), depth)
		for i := range 2 * vectorRows {
			VPXORD(zmm(i), zmm(i), zmm(i))
		}
		loop(name, depth, func() {
			MOVQ(U32(blockPairs), RDI)
			Label(name + "Block")
			VMOVDQU32(Mem{Base: b}, zmm(low))
			VMOVDQU32(Mem{Base: b, Disp: 64}, zmm(high))
			PREFETCHT0(Mem{Base: b, Disp: 1024})
			PREFETCHT0(Mem{Base: b, Disp: 1088})
			for row := range vectorRows {
				VPBROADCASTD(Mem{Base: RAX, Disp: 4 * blockPairs * row}, zmm(value+row%4))
				emit(dotPairs(2*row, value+row%4, low))
				emit(dotPairs(2*row+1, value+row%4, high))
			}
			ADDQ(Imm(4), RAX)
			ADDQ(U32(4*pairColumns), b)
			DECQ(RDI)
			JNE(LabelRef(name + "Block"))
			ADDQ(U32(4*blockPairs*(vectorRows-1)), RAX)
		})
		for i := range 2 * vectorRows {
			at, sum := Mem{Base: c, Disp: 64 * i}, zmm(i)
			VADDPS(at, sum, sum)
			VMOVUPS(sum, at)
		}
		ADDQ(U32(4*pairColumns*vectorRows), c)
	})
	VZEROUPPER()
	RET()
}

// matrixTile is the tile of TDPBF16PS: the left and then the right half of a tile of c, in tmm0 and tmm1, one below the other. The
// configuration is loaded and released in the call, so that the goroutine may run on another thread the next time.
//
// Four of the eight tile registers are used, on purpose: where another thread shares the core, as hyper-threads do, registers are renamed
// from what the tiles in use leave over. With all eight in use, as two by two tiles of c need, a core of Sapphire Rapids makes less than
// half as many products then; when the core is not shared both make the same.
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

	TEXT(name, NOSPLIT, "func(depth, count int, a, b []uint32, c []float32)")
	Pragma("noescape")
	Doc(name + " adds a·b to count tiles of 32 x 32, one after another in c; depth is in pairs, a multiple of 16.")
	LEAQ(config, RAX)
	emit(configureTiles())
	count, a := Load(Param("count"), R12), Load(Param("a").Base(), R13)
	b, c := Load(Param("b").Base(), RDX), Load(Param("c").Base(), RBX)
	const rowBytes = 4 * pairColumns // of b and c
	at, rowsOfA, rowsOfB, below, half := R8, R9, RSI, RDI, R10
	MOVQ(U32(tileBytes), rowsOfA)
	MOVQ(U32(rowBytes), rowsOfB)
	LEAQ(Mem{Base: c, Disp: tileRows * rowBytes}, below)
	next := Load(Param("depth"), RCX) // the strip after this one is fetched meanwhile: it comes from far away
	SHLQ(Imm(7), next)                // 32 rows of pairs
	ADDQ(a, next)
	sums := func(each func(tile, base, index int, disp int8) encoded) {
		emit(each(0, rbx, rsi, 0))
		emit(each(1, rdi, rsi, 0))
	}
	halfTile := func(name string, disp int8) {
		MOVQ(a, at)
		LEAQ(Mem{Base: b, Disp: int(disp)}, half)
		depth := Load(Param("depth"), R11)
		SHRQ(Imm(4), depth)
		sums(loadTile)
		loop(name, depth, func() {
			emit(loadTile(2, r10, rsi, 0))
			emit(loadTile(3, r8, r9, 0))
			emit(multiplyTiles(0, 3, 2))
			ADDQ(U32(tileRows*tileBytes), at)
			PREFETCHT1(Mem{Base: next})
			PREFETCHT1(Mem{Base: next, Disp: 64})
			ADDQ(U32(128), next)
			emit(loadTile(3, r8, r9, 0))
			emit(multiplyTiles(1, 3, 2))
			ADDQ(U32(tileRows*tileBytes), at)
			ADDQ(U32(rowBytes*blockPairs), half)
		})
		sums(storeTile)
		ADDQ(Imm(tileBytes), c)
		ADDQ(Imm(tileBytes), below)
	}
	loop(name+"Tiles", count, func() {
		halfTile(name+"Left", 0)
		halfTile(name+"Right", tileBytes)
		LEAQ(Mem{Base: half, Disp: -tileBytes}, b)
		ADDQ(U32(2*tileRows*rowBytes-2*tileBytes), c)
		ADDQ(U32(2*tileRows*rowBytes-2*tileBytes), below)
	})
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
