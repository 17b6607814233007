package vllm

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// element is a floating-point type that a prompt may have.
type element struct {
	name    string // as safetensors and GGUF write it
	storage string // PyTorch's class of an array of it
	bytes   int
}

// elements lists the types that vLLM takes.
var elements = map[string]element{
	"BF16": {"BF16", "BFloat16Storage", 2},
	"F16":  {"F16", "HalfStorage", 2},
	"F32":  {"F32", "FloatStorage", 4},
}

// torchSave gives the bytes that torch.save writes for one CPU tensor of rows x cols: a zip of stored entries with a pickle
// (protocol 2) that rebuilds the tensor from its storage. data holds the elements, little-endian, row-major. Equal tensors give
// equal bytes. The format: https://pytorch.org/docs/stable/notes/serialization.html.
func torchSave(e element, rows, cols int, data []byte) ([]byte, error) {
	if rows < 1 || cols < 1 || rows > math.MaxInt32/cols || len(data) != rows*cols*e.bytes {
		return nil, fmt.Errorf("writing a tensor: %d bytes are no %d x %d of %s", len(data), rows, cols, e.name)
	}
	var out bytes.Buffer
	out.Grow(len(data) + 1024)
	archive := zip.NewWriter(&out)
	for _, entry := range []struct {
		name string
		data []byte
	}{
		{"data.pkl", pickleTensor(e, rows, cols)}, {"byteorder", []byte("little")}, {"data/0", data}, {"version", []byte("3\n")},
	} {
		w, err := archive.CreateRaw(&zip.FileHeader{
			Name: "archive/" + entry.name, Method: zip.Store, CRC32: crc32.ChecksumIEEE(entry.data),
			CompressedSize64: uint64(len(entry.data)), UncompressedSize64: uint64(len(entry.data)),
		})
		if err != nil {
			return nil, fmt.Errorf("writing a tensor: %w", err)
		}
		if _, err := w.Write(entry.data); err != nil {
			return nil, fmt.Errorf("writing a tensor: %w", err)
		}
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("writing a tensor: %w", err)
	}
	return out.Bytes(), nil
}

// Pickle opcodes, https://github.com/python/cpython/blob/3.11/Lib/pickletools.py.
const (
	opProto      = "\x80\x02"
	opMark       = "("
	opTuple      = "t"
	opTuple2     = "\x86"
	opEmptyTuple = ")"
	opFalse      = "\x89"
	opPersistent = "Q"
	opReduce     = "R"
	opStop       = "."
	opGlobal     = "c"
	opInt        = 'J'
	opText       = 'X'
)

// pickleTensor calls torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks), where the storage
// is the persistent id ("storage", class, key, device, elements).
func pickleTensor(e element, rows, cols int) []byte {
	var p []byte
	add := func(ops ...string) {
		for _, op := range ops {
			p = append(p, op...)
		}
	}
	integer := func(v int) { p = binary.LittleEndian.AppendUint32(append(p, opInt), uint32(v)) }
	text := func(s string) { p = append(binary.LittleEndian.AppendUint32(append(p, opText), uint32(len(s))), s...) }

	add(opProto, opGlobal, "torch._utils\n_rebuild_tensor_v2\n", opMark)
	add(opMark)
	text("storage")
	add(opGlobal, "torch\n", e.storage, "\n")
	text("0")
	text("cpu")
	integer(rows * cols)
	add(opTuple, opPersistent)
	integer(0)
	integer(rows)
	integer(cols)
	add(opTuple2)
	integer(cols)
	integer(1)
	add(opTuple2, opFalse, opGlobal, "collections\nOrderedDict\n", opEmptyTuple, opReduce, opTuple, opReduce, opStop)
	return p
}
