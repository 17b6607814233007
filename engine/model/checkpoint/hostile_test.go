package checkpoint

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/internal/alloctest"
)

// TestACutFileIsRefusedWhereverItEnds covers every boundary of both layouts.
func TestACutFileIsRefusedWhereverItEnds(t *testing.T) {
	t.Parallel()
	for layout, raw := range map[string][]byte{"legacy": sample().legacy(), "zip": sample().zipped(t, zip.Store)} {
		for n := range raw {
			_, err := load(raw[:n])
			require.Error(t, err, "%s cut at %d", layout, n)
		}
	}
}

// around puts a pickle into both layouts.
func around(t *testing.T, pickle []byte) map[string][]byte {
	t.Helper()
	legacy := saved{}.legacy()
	object := saved{}.object(true)
	at := bytes.Index(legacy, object)
	require.Positive(t, at)
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	entry, err := w.CreateHeader(&zip.FileHeader{Name: "x/data.pkl"})
	require.NoError(t, err)
	_, err = entry.Write(pickle)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return map[string][]byte{
		"legacy": append(append(append([]byte(nil), legacy[:at]...), pickle...), legacy[at+len(object):]...), "zip": archive.Bytes(),
	}
}

func TestPicklesThatDoMoreThanHoldTensorsAreRefused(t *testing.T) {
	t.Parallel()
	deep := func(op byte) []byte { return bytes.Repeat([]byte{op}, maxStack+9) }
	for name, c := range map[string]struct{ pickle, want string }{
		"a command":              {"\x80\x02cos\nsystem\n(X\x02\x00\x00\x00ls\x85R.", `"os.system"`},
		"a builtin":              {"\x80\x02c__builtin__\neval\n.", `"__builtin__.eval"`},
		"another torch function": {"\x80\x02ctorch\nload\n.", `"torch.load"`},
		"an instance":            {"\x80\x02(i__builtin__\neval\n.", "operation 0x69"},
		"a new object":           {"\x80\x02ccollections\nOrderedDict\n)\x81.", "operation 0x81"},
		"an extension":           {"\x80\x02\x82\x01.", "operation 0x82"},
		"another protocol":       {"\x80\x05N.", "protocol 5"},
		"a number only":          {"\x80\x02K\x01.", "where a dictionary is expected"},
		"no value":               {"\x80\x02.", "ends with 0 values"},
		"a mark only":            {"\x80\x02(.", "ends with 1 values"},
		"no mark":                {"\x80\x02t.", "no mark"},
		"a mark as value":        {"\x80\x02(K\x01\x86.", "a mark"},
		"empty stack":            {"\x80\x02K\x01s.", "stack is empty"},
		"items for None":         {"\x80\x02NK\x01a.", "items for None"},
		"a list with keys":       {"\x80\x02]K\x01K\x02s.", "keys for a list"},
		"a dictionary without":   {"\x80\x02}(K\x01u.", "without keys"},
		"memo not set":           {"\x80\x02h\x07.", "memo 7 is not set"},
		"nothing to remember":    {"\x80\x02q\x07.", "stack is empty"},
		"a call of a number":     {"\x80\x02K\x01)R.", "a call of"},
		"a dictionary's items":   {"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.", "with 1 arguments"},
		"a size of nothing":      {"\x80\x02ctorch\nSize\nK\x01\x85R.", "torch.Size of"},
		"attributes for a list":  {"\x80\x02]}b.", "attributes for a list"},
		"an id of a number":      {"\x80\x02K\x01Q.", "as the id"},
		"an id too short":        {"\x80\x02)Q.", "an id of 0 parts"},
		"a huge string":          {"\x80\x02X\xff\xff\xff\xff.", "at most 65536"},
		"a huge number":          {"\x80\x02\x8a\xff.", "at most 8"},
		"an endless name":        {"\x80\x02c" + strings.Repeat("a", 300), "255 bytes"},
		"marks without end":      {"\x80\x02" + string(deep(opMark)), "stack holds more"},
		"lists without end":      {"\x80\x02" + string(deep(opEmptyList)), "stack holds more"},
		"objects without end":    {"\x80\x02]" + strings.Repeat("]a", maxObjects) + ".", "more than 262144 objects"},
		"a memo without end":     {"\x80\x02N" + memo(maxMemo+1) + ".", "memo holds more"},
		"no end":                 {"\x80\x02N" + strings.Repeat("K\x01\x85", 100), "no end"},
		"model is a number":      {"\x80\x02}X\x05\x00\x00\x00modelK\x01s.", `"model" holds`},
	} {
		for layout, raw := range around(t, []byte(c.pickle)) {
			_, err := load(raw)
			if c.want == "no end" && layout == "legacy" {
				require.Error(t, err) // what follows is read on
				continue
			}
			require.ErrorContains(t, err, c.want, "%s in %s", name, layout)
		}
	}
}

// memo remembers one value under n numbers.
func memo(n int) string {
	var all []byte
	for i := range n {
		all = binary.LittleEndian.AppendUint32(append(all, opLongPut), uint32(i))
	}
	return string(all)
}

// TestDeepNestingNeedsNoStack: hundreds of thousands of tuples inside one another, where a tensor's name is expected and elsewhere.
func TestDeepNestingNeedsNoStack(t *testing.T) {
	t.Parallel()
	nest := ")" + strings.Repeat("\x85", maxObjects-10)
	for _, pickle := range []string{
		"\x80\x02}" + nest + "Ns.", "\x80\x02}N" + nest + "s.", "\x80\x02}X\x05\x00\x00\x00model" + nest + "s.", "\x80\x02" + nest + ".",
		"\x80\x02" + nest + "Q.", "\x80\x02ctorch\nSize\n" + nest + "R.",
	} {
		for _, raw := range around(t, []byte(pickle)) {
			f, err := load(raw)
			if err == nil {
				require.Empty(t, f.Tensors())
			}
		}
	}
}

// TestAListInItselfIsHarmless: Python allows it, and nothing here follows it.
func TestAListInItselfIsHarmless(t *testing.T) {
	t.Parallel()
	for _, raw := range around(t, []byte("\x80\x02}q\x00K\x01]q\x01h\x01ash\x00K\x02h\x00s.")) {
		_, err := load(raw)
		require.ErrorContains(t, err, "ends with 2 values")
	}
	for _, raw := range around(t, []byte("\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s.")) {
		f, err := load(raw)
		require.NoError(t, err)
		require.Empty(t, f.Tensors())
	}
}

func TestTensorsOutsideTheirStorageAreRefused(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]view{
		"beyond the end":     {offset: 9, shape: []int{4}, strides: []int{1}},
		"offset beyond":      {offset: 13, shape: []int{0}, strides: []int{1}},
		"huge offset":        {offset: math.MaxInt, shape: []int{1}, strides: []int{1}},
		"negative offset":    {offset: -1, shape: []int{1}, strides: []int{1}},
		"negative size":      {shape: []int{-1}, strides: []int{1}},
		"negative stride":    {offset: 5, shape: []int{2}, strides: []int{-1}},
		"huge size":          {shape: []int{1 << 40}, strides: []int{1}},
		"a product of 2^64":  {shape: []int{1 << 16, 1 << 16, 1 << 16, 1 << 16}, strides: []int{0, 0, 0, 0}},
		"repeated elements":  {shape: []int{1 << 30}, strides: []int{0}},
		"a huge stride":      {shape: []int{2}, strides: []int{math.MaxInt}},
		"strides missing":    {shape: []int{2, 2}, strides: []int{1}},
		"too many":           {shape: []int{1, 1, 1, 1, 1, 1, 1, 1, 1}, strides: []int{1, 1, 1, 1, 1, 1, 1, 1, 1}},
		"strides too wide":   {shape: []int{3, 4}, strides: []int{5, 1}},
		"a scalar past end":  {offset: 12, shape: []int{}, strides: []int{}},
		"transposed and out": {offset: 1, shape: []int{4, 3}, strides: []int{1, 4}},
	} {
		s := sample()
		v.name, v.key = "x", "10"
		s.views = append(s.views, v)
		for layout, raw := range map[string][]byte{"legacy": s.legacy(), "zip": s.zipped(t, zip.Store)} {
			_, err := load(raw)
			require.ErrorContains(t, err, "building a tensor", "%s in %s", name, layout)
		}
	}
}

func TestStoragesThatDoNotFitTheFileAreRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*saved){
		"claims more":      func(s *saved) { s.storages[0].claim = 1 << 40 },
		"claims past 2^63": func(s *saved) { s.storages[0].claim = math.MaxInt },
		"negative":         func(s *saved) { s.storages[0].claim = -1 },
		"claims less":      func(s *saved) { s.storages[2].claim = 1 },
		"listed twice": func(s *saved) {
			s.storages = append(s.storages, storageData{key: "8", class: "LongStorage", data: make([]byte, 8)})
		},
		"unknown class": func(s *saved) { s.storages[0].class, s.storages[0].claim = "QuantumStorage", 12 },
	} {
		s := sample()
		change(&s)
		if name != "claims less" { // the surplus at the end of a legacy file is not looked at
			_, err := load(s.legacy())
			require.Error(t, err, "%s in legacy", name)
		}
		_, err := load(s.zipped(t, zip.Store))
		require.Error(t, err, "%s in zip", name)
	}
}

func TestZipBombsAreRefused(t *testing.T) {
	t.Parallel()
	_, err := load(sample().zipped(t, zip.Deflate))
	require.ErrorContains(t, err, "is compressed")

	// An entry that claims to be larger than the file.
	raw := sample().zipped(t, zip.Store)
	directory := bytes.Index(raw, []byte("PK\x01\x02"))
	for _, at := range []int{20, 24} {
		binary.LittleEndian.PutUint32(raw[directory+at:], 1<<31)
	}
	_, err = load(raw)
	require.ErrorContains(t, err, "outside the file")

	// A directory of several hundred thousand entries.
	var many bytes.Buffer
	w := zip.NewWriter(&many)
	long := strings.Repeat("n", 1000)
	for i := range 20000 {
		_, err := w.CreateHeader(&zip.FileHeader{Name: long + number(i)})
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	_, err = load(many.Bytes())
	require.ErrorContains(t, err, "directory is larger")
}

func TestABigEndianFileIsRefused(t *testing.T) {
	t.Parallel()
	raw := sample().legacy()
	at := bytes.Index(raw, []byte("little_endian\x88"))
	require.Positive(t, at)
	raw[at+len("little_endian")] = opFalse
	_, err := load(raw)
	require.ErrorContains(t, err, "big-endian")
	zipped := bytes.Replace(sample().zipped(t, zip.Store), []byte("little"), []byte("bigend"), 1)
	_, err = load(zipped)
	require.ErrorContains(t, err, "byte order")
}

// FuzzRead: whatever the bytes, reading fails or gives tensors that lie inside the file.
func FuzzRead(f *testing.F) {
	bare := sample()
	bare.wrap = ""
	for _, s := range []saved{sample(), bare, {}} {
		f.Add(s.legacy())
		f.Add(s.zipped(f, zip.Store))
	}
	f.Add([]byte("\x20\x00\x00\x00\x00\x00\x00\x00{}                              "))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var c *File
		var err error
		alloctest.Bound(t, len(raw), 256<<10, 200, func() { c, err = load(raw) })
		if err != nil {
			return
		}
		for _, info := range c.Tensors() {
			total := 0
			require.NoError(t, c.Read(t.Context(), info.Name, func(piece []byte) error {
				total += len(piece)
				return nil
			}))
			require.LessOrEqual(t, total, len(raw), info.Name)
		}
	})
}

// FuzzPickle looks for crashes of the machine alone, where a mutation is not lost among the storages.
func FuzzPickle(f *testing.F) {
	f.Add(sample().object(true))
	f.Add(sample().object(false))
	f.Add([]byte("\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s."))
	f.Fuzz(func(t *testing.T, raw []byte) {
		alloctest.Bound(t, len(raw), 128<<10, 200, func() {
			storages := map[string]*storage{}
			root, _, err := unpickle(bytes.NewReader(raw), func(id tuple) (*storage, error) { return declare(storages, id) })
			if err == nil {
				_, _ = collect(root)
			}
		})
	})
}

// TestASparseGiantIsReadInPlace: a storage of 3 TB costs no memory before it is read.
func TestASparseGiantIsReadInPlace(t *testing.T) {
	t.Parallel()
	const elements = 1 << 40
	s := saved{
		storages: []storageData{{key: "a", class: "ByteStorage", claim: elements}},
		views:    []view{{name: "all", key: "a", shape: []int{1 << 20, 1 << 20}, strides: []int{1 << 20, 1}}, {name: "turned", key: "a", shape: []int{1 << 20, 1 << 20}, strides: []int{1, 1 << 20}}},
	}
	path := filepath.Join(t.TempDir(), "giant")
	raw := s.legacy()
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	if os.Truncate(path, int64(len(raw))+elements) != nil {
		t.Skip("this file system has no sparse files")
	}
	f := open(t, path)
	pieces := 0
	require.ErrorIs(t, f.Read(t.Context(), "all", func([]byte) error {
		if pieces++; pieces == 3 {
			return os.ErrClosed
		}
		return nil
	}), os.ErrClosed)
	require.ErrorContains(t, f.Read(t.Context(), "turned", nil), "not stored in row-major order")
}
