package dataset

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/larkstream/larkstream/engine/tensor"
)

// writePickle writes frames as a pickle (protocol 4) that gives a torch.Tensor of float32: torch.from_numpy(numpy.reshape(numpy.frombuffer(bytearray(DATA),
// "<f4"), (rows, cols))). LLark's training script reads its shards so; only these four public functions are named, so that any version of the libraries will do.
// The opcodes are those of Python's pickletools.
func writePickle(w *bytes.Buffer, frames tensor.Matrix) {
	const proto, stop, reduce, tuple1, tuple2 = "\x80\x04", ".", "R", "\x85", "\x86"
	global := func(module, name string) { w.WriteString("c" + module + "\n" + name + "\n") }
	integer := func(v int) {
		w.WriteByte('J')
		_ = binary.Write(w, binary.LittleEndian, int32(v)) // a buffer takes it
	}
	w.WriteString(proto)
	global("torch", "from_numpy")
	global("numpy", "reshape")
	global("numpy", "frombuffer")
	global("builtins", "bytearray")
	w.WriteByte('B') // bytes with a length of four bytes
	_ = binary.Write(w, binary.LittleEndian, uint32(4*len(frames.Data)))
	for _, v := range frames.Data {
		_ = binary.Write(w, binary.LittleEndian, math.Float32bits(v))
	}
	w.WriteString(tuple1 + reduce)
	w.WriteString("X\x03\x00\x00\x00<f4" + tuple2 + reduce)
	integer(frames.Rows)
	integer(frames.Cols)
	w.WriteString(tuple2 + tuple2 + reduce + tuple1 + reduce + stop)
}
