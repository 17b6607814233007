package main

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rsp cannot be an index.
const rsp = 4

// instructions are all that are encoded by hand, on registers that make every bit of the encodings change.
func instructions() []encoded {
	list := []encoded{configureTiles(), releaseTiles()}
	for i := range 32 {
		for _, other := range []int{0, 7, 8, 15, 16, 31} {
			list = append(list, dotPairs(i, other, 31-i), dotPairs(other, i, 5), roundTwo(other, i, 3), roundTwo(i, 9, other), roundOne(i, other))
		}
	}
	for tile := range 8 {
		for base := range generalNames {
			for index := range generalNames {
				if index != rsp {
					list = append(list, loadTile(tile, base, index, 64), storeTile(tile, base, index, 64), loadTile(tile, base, index, 0))
				}
			}
		}
		for a := range 8 {
			for b := range 8 {
				if tile != a && tile != b && a != b { // the same register twice is not allowed
					list = append(list, multiplyTiles(tile, a, b))
				}
			}
		}
	}
	return list
}

// The bytes are those that GNU as makes of the same instructions.
func TestEncodingsAreThoseOfGNUAssembler(t *testing.T) {
	t.Parallel()
	as, err := exec.LookPath("as")
	if err != nil {
		t.Skip("GNU as is not installed")
	}
	var source strings.Builder
	var want []byte
	for _, e := range instructions() {
		source.WriteString(e.text + "\n")
		want = append(want, e.bytes...)
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, "all.s"), filepath.Join(dir, "all.o")
	require.NoError(t, os.WriteFile(in, []byte(".text\n"+source.String()), 0o600))
	message, err := exec.CommandContext(t.Context(), as, "--64", in, "-o", out).CombinedOutput()
	if bytes.Contains(message, []byte("no such instruction")) || bytes.Contains(message, []byte("unrecognized option")) {
		t.Skip("this assembler does not know the instructions")
	}
	require.NoError(t, err, string(message))
	file, err := elf.Open(out)
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	got, err := file.Section(".text").Data()
	require.NoError(t, err)
	offset := 0
	for _, e := range instructions() {
		require.GreaterOrEqual(t, len(got), offset+len(e.bytes))
		require.Equal(t, e.bytes, got[offset:offset+len(e.bytes)], e.text)
		offset += len(e.bytes)
	}
	require.Len(t, got, len(want))
}
