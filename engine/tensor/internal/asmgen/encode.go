package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
)

// Neither Go's assembler nor avo knows the instructions on bfloat16. They are written as bytes, on registers by number; the encodings
// are those of Intel's Software Developer's Manual, volume 2. Operands stand in Intel's order: the destination first.

// encoded is one instruction: its bytes, and how GNU as writes it.
type encoded struct {
	bytes []byte
	text  string
}

// emit puts the bytes into the function in hand.
func emit(e encoded) {
	data := func(name string, value Constant) { Instruction(&ir.Instruction{Opcode: name, Operands: []Op{value}}) }
	b := e.bytes
	for ; len(b) >= 4; b = b[4:] {
		data("LONG", U32(uint32(b[0])|uint32(b[1])<<8|uint32(b[2])<<16|uint32(b[3])<<24))
	}
	for ; len(b) >= 2; b = b[2:] {
		data("WORD", U16(uint16(b[0])|uint16(b[1])<<8))
	}
	if len(b) == 1 {
		data("BYTE", U8(b[0]))
	}
}

// Prefixes of opcodes.
const (
	noPrefix = 0
	prefixF3 = 2
	prefixF2 = 3
)

// evex is an instruction of map 0F38 on whole 512-bit registers, without mask.
func evex(prefix, opcode byte, dst, a, b int) []byte {
	inverted := func(register, bit, at int) byte { return byte(^register>>bit&1) << at }
	return []byte{
		0x62,
		inverted(dst, 3, 7) | inverted(b, 4, 6) | inverted(b, 3, 5) | inverted(dst, 4, 4) | 2,
		byte(^a&15)<<3 | 4 | prefix,
		0x40 | inverted(a, 4, 3),
		opcode,
		0xc0 | byte(dst&7)<<3 | byte(b&7),
	}
}

// dotPairs adds to each float32 of dst the products of the two bfloat16 at its place in a and b: VDPBF16PS.
func dotPairs(dst, a, b int) encoded {
	return encoded{evex(prefixF3, 0x52, dst, a, b), fmt.Sprintf("vdpbf16ps %%zmm%d,%%zmm%d,%%zmm%d", b, a, dst)}
}

// roundTwo rounds the 16 float32 of low to the lower 16 bfloat16 of dst, and those of high to the upper: VCVTNE2PS2BF16.
func roundTwo(dst, high, low int) encoded {
	return encoded{evex(prefixF2, 0x72, dst, high, low), fmt.Sprintf("vcvtne2ps2bf16 %%zmm%d,%%zmm%d,%%zmm%d", low, high, dst)}
}

// roundOne rounds the 16 float32 of from to the lower half of dst: VCVTNEPS2BF16.
func roundOne(dst, from int) encoded {
	return encoded{evex(prefixF3, 0x72, dst, 0, from), fmt.Sprintf("vcvtneps2bf16 %%zmm%d,%%ymm%d", from, dst)}
}

// General registers by their number in encodings.
const (
	rax, rcx, rdx, rbx, rsi, rdi = 0, 1, 2, 3, 6, 7
	r8, r9, r10                  = 8, 9, 10
)

var generalNames = []string{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"}

// vexTile is a tile instruction with a memory operand: the tile's rows lie at base + disp, index apart.
func vexTile(prefix, opcode byte, tile, base, index int, disp int8) []byte {
	return []byte{
		0xc4,
		0x80 | byte(^index>>3&1)<<6 | byte(^base>>3&1)<<5 | 2,
		0x78 | prefix,
		opcode,
		0x44 | byte(tile)<<3,
		byte(index&7)<<3 | byte(base&7),
		byte(disp),
	}
}

func tileText(base, index int, disp int8) string {
	return fmt.Sprintf("%#x(%%%s,%%%s,1)", disp, generalNames[base], generalNames[index])
}

// loadTile is TILELOADD.
func loadTile(tile, base, index int, disp int8) encoded {
	return encoded{vexTile(prefixF2, 0x4b, tile, base, index, disp), fmt.Sprintf("{disp8} tileloadd %s,%%tmm%d", tileText(base, index, disp), tile)}
}

// storeTile is TILESTORED.
func storeTile(tile, base, index int, disp int8) encoded {
	return encoded{vexTile(prefixF3, 0x4b, tile, base, index, disp), fmt.Sprintf("{disp8} tilestored %%tmm%d,%s", tile, tileText(base, index, disp))}
}

// multiplyTiles adds the product of tiles a and b, of pairs of bfloat16, to the float32 of dst: TDPBF16PS.
func multiplyTiles(dst, a, b int) encoded {
	return encoded{
		[]byte{0xc4, 0xe2, byte(^b&15)<<3 | prefixF3, 0x5c, 0xc0 | byte(dst)<<3 | byte(a)},
		fmt.Sprintf("tdpbf16ps %%tmm%d,%%tmm%d,%%tmm%d", b, a, dst),
	}
}

// configureTiles is LDTILECFG of the 64 bytes at rax.
func configureTiles() encoded {
	return encoded{[]byte{0xc4, 0xe2, 0x78 | noPrefix, 0x49, 0x00}, "ldtilecfg (%rax)"}
}

// releaseTiles is TILERELEASE.
func releaseTiles() encoded {
	return encoded{[]byte{0xc4, 0xe2, 0x78 | noPrefix, 0x49, 0xc0}, "tilerelease"}
}
