package checkpoint

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// view is a tensor of a checkpoint made for a test.
type view struct {
	name, key      string
	offset         int
	shape, strides []int
}

// saved is a checkpoint made for a test. As PyTorch does, it puts the tensors into an OrderedDict with attributes.
type saved struct {
	views    []view
	storages []storageData
	// wrap is the key under which the tensors lie in the top-level dictionary; without it they are the top level.
	wrap string
}

// storageData is a storage: its class, its elements and what it claims to have.
type storageData struct {
	key, class string
	data       []byte
	claim      int // elements; 0: as many as data holds
}

func (s storageData) elements() int {
	if s.claim != 0 {
		return s.claim
	}
	return len(s.data) / int(elementBytes[storageTypes[global("torch."+s.class)]])
}

func floats(values ...float32) []byte {
	var raw []byte
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return raw
}

// pickler writes pickle operations.
type pickler struct{ bytes.Buffer }

func (p *pickler) ops(raw ...byte) { p.Write(raw) }

func (p *pickler) text(s string) {
	p.ops(opUnicode)
	p.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(s))))
	p.WriteString(s)
}

func (p *pickler) int(v int) {
	p.ops(opLong1, 8)
	p.Write(binary.LittleEndian.AppendUint64(nil, uint64(v)))
}

func (p *pickler) global(module, name string) { p.WriteString("c" + module + "\n" + name + "\n") }

func (p *pickler) ints(values []int) {
	p.ops(opMark)
	for _, v := range values {
		p.int(v)
	}
	p.ops(opTuple)
}

func (p *pickler) storage(s storageData, legacy bool) {
	p.ops(opMark)
	p.text("storage")
	p.global("torch", s.class)
	p.text(s.key)
	p.text("cuda:0")
	p.int(s.elements())
	if legacy {
		p.ops(opNone)
	}
	p.ops(opTuple, opPersID)
}

func (p *pickler) tensor(v view, s storageData, legacy bool) {
	p.global("torch._utils", "_rebuild_tensor_v2")
	p.ops(opMark)
	p.storage(s, legacy)
	p.int(v.offset)
	p.ints(v.shape)
	p.ints(v.strides)
	p.ops(opFalse)
	p.global("collections", "OrderedDict")
	p.ops(opEmptyTuple, opReduce, opTuple, opReduce)
}

// object pickles the dictionary of the tensors.
func (s saved) object(legacy bool) []byte {
	p := &pickler{}
	p.ops(opProto, 2)
	if s.wrap != "" {
		p.ops(opEmptyDict, opPut, 0)
		p.text("step")
		p.int(-3)
		p.ops(opSetItem)
		p.text(s.wrap)
	}
	p.global("collections", "OrderedDict")
	p.ops(opEmptyTuple, opReduce, opMark)
	for _, v := range s.views {
		p.text(v.name)
		at := slices.IndexFunc(s.storages, func(x storageData) bool { return x.key == v.key })
		p.tensor(v, s.storages[at], legacy)
	}
	p.ops(opSetItems, opEmptyDict)
	p.text("_metadata")
	p.ops(opNone, opSetItem, opBuild)
	if s.wrap != "" {
		p.ops(opSetItem)
	}
	p.ops(opStop)
	return p.Bytes()
}

// legacy is the file that PyTorch before 1.6 would write.
func (s saved) legacy() []byte {
	p := &pickler{}
	p.Write(legacyStart)
	p.ops(opProto, 2, opInt2, 0xe9, 3, opStop, opProto, 2, opEmptyDict)
	p.text("little_endian")
	p.ops(opTrue, opSetItem, opStop)
	p.Write(s.object(true))
	p.ops(opProto, 2, opEmptyList, opMark)
	for _, x := range s.storages {
		p.text(x.key)
	}
	p.ops(opAppends, opStop)
	for _, x := range s.storages {
		p.Write(binary.LittleEndian.AppendUint64(nil, uint64(x.elements())))
		p.Write(x.data)
	}
	return p.Bytes()
}

// zipped is the file that PyTorch since 1.6 would write, with entries stored by the given method.
func (s saved) zipped(tb testing.TB, method uint16) []byte {
	tb.Helper()
	var file bytes.Buffer
	w := zip.NewWriter(&file)
	write := func(name string, data []byte) {
		entry, err := w.CreateHeader(&zip.FileHeader{Name: "archive/" + name, Method: method})
		require.NoError(tb, err)
		_, err = entry.Write(data)
		require.NoError(tb, err)
	}
	write("data.pkl", s.object(false))
	write("byteorder", []byte("little"))
	for _, x := range s.storages {
		write("data/"+x.key, x.data)
	}
	write("version", []byte("3\n"))
	require.NoError(tb, w.Close())
	return file.Bytes()
}

func load(raw []byte) (*File, error) {
	tensors, err := read(bytes.NewReader(raw), int64(len(raw)))
	return &File{path: "test", file: bytes.NewReader(raw), tensors: tensors, close: func() error { return nil }}, err
}

// sample has what real checkpoints have: shared storages, offsets, transposed and empty tensors, scalars, several types.
func sample() saved {
	numbers := make([]float32, 12)
	for i := range numbers {
		numbers[i] = float32(i)
	}
	return saved{wrap: "model", storages: []storageData{
		{key: "10", class: "FloatStorage", data: floats(numbers...)},
		{key: "9", class: "HalfStorage", data: []byte{0, 0x3c, 0, 0xc0}},
		{key: "8", class: "LongStorage", data: make([]byte, 16)},
	}, views: []view{
		{name: "module.rows", key: "10", shape: []int{3, 4}, strides: []int{4, 1}},
		{name: "module.columns", key: "10", shape: []int{4, 3}, strides: []int{1, 4}},
		{name: "module.tail", key: "10", offset: 7, shape: []int{5}, strides: []int{1}},
		{name: "module.scalar", key: "10", offset: 11, shape: []int{}, strides: []int{}},
		{name: "module.empty", key: "10", shape: []int{0, 4}, strides: []int{4, 1}},
		{name: "module.half", key: "9", shape: []int{2, 1}, strides: []int{1, 1}},
		{name: "module.counter", key: "8", shape: []int{2}, strides: []int{1}},
	}}
}

func number(n int) string { return strconv.Itoa(n) }
