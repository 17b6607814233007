package checkpoint

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// maxDims bounds the dimensions of a tensor.
const maxDims = 8

// storage is a run of elements in the file; several tensors may be views of it.
type storage struct {
	key    string
	dtype  string
	count  int64 // elements
	offset int64 // of its first byte in the file; known once the container has been read
}

func (s *storage) bytes() int64 { return s.count * elementBytes[s.dtype] }

// tensor is a strided view of a storage. Offset and strides count elements.
type tensor struct {
	storage *storage
	offset  int64
	shape   []int
	strides []int64
}

// elementBytes holds the size of each element type, under the names of safetensors.
var elementBytes = map[string]int64{
	"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}

// The only names that a checkpoint may use.
const (
	globalDict   global = "collections.OrderedDict"
	globalTensor global = "torch._utils._rebuild_tensor_v2"
	globalSize   global = "torch.Size"
)

// storageTypes gives the element type of each of PyTorch's storage classes.
var storageTypes = map[global]string{
	"torch.DoubleStorage": "F64", "torch.FloatStorage": "F32", "torch.HalfStorage": "F16", "torch.BFloat16Storage": "BF16",
	"torch.LongStorage": "I64", "torch.IntStorage": "I32", "torch.ShortStorage": "I16", "torch.CharStorage": "I8",
	"torch.ByteStorage": "U8", "torch.BoolStorage": "BOOL",
}

func (m *machine) object(op byte) error {
	switch op {
	case opGlobal:
		return m.global()
	case opReduce:
		return m.reduce()
	case opBuild:
		return m.build()
	}
	v, err := m.pop(1)
	if err != nil {
		return err
	}
	id, ok := v[0].(tuple)
	if !ok {
		return fmt.Errorf("%s as the id of a storage", kind(v[0]))
	}
	s, err := m.find(id)
	if err != nil {
		return err
	}
	m.push(s)
	return nil
}

func (m *machine) global() error {
	module, err := m.line()
	if err != nil {
		return err
	}
	name, err := m.line()
	if err != nil {
		return err
	}
	g := global(module + "." + name)
	if _, ok := storageTypes[g]; !ok && g != globalDict && g != globalTensor && g != globalSize {
		return fmt.Errorf("the checkpoint uses %q: only tensors, dictionaries, lists and numbers are read, and nothing is executed", string(g))
	}
	m.push(g)
	return nil
}

// line reads up to a newline, at most 255 bytes.
func (m *machine) line() (string, error) {
	var text strings.Builder
	for text.Len() < 256 {
		b, err := m.byte()
		if err != nil {
			return "", err
		}
		if b == '\n' {
			return text.String(), nil
		}
		text.WriteByte(b)
	}
	return "", errors.New("a name of more than 255 bytes")
}

func (m *machine) reduce() error {
	items, err := m.pop(2)
	if err != nil {
		return err
	}
	name, isGlobal := items[0].(global)
	args, isTuple := items[1].(tuple)
	if !isGlobal || !isTuple {
		return fmt.Errorf("a call of %s with %s", kind(items[0]), kind(items[1]))
	}
	if err := m.count(); err != nil {
		return err
	}
	switch {
	case name == globalDict && len(args) == 0:
		m.push(&dict{})
	case name == globalSize && len(args) == 1:
		size, ok := args[0].(tuple)
		if !ok {
			return fmt.Errorf("torch.Size of %s", kind(args[0]))
		}
		m.push(size)
	case name == globalTensor && len(args) >= 6 && len(args) <= 7:
		t, err := newTensor(args)
		if err != nil {
			return fmt.Errorf("building a tensor: %w", err)
		}
		m.push(t)
	default:
		return fmt.Errorf("a call of %s with %d arguments", name, len(args))
	}
	return nil
}

// build drops the attributes of a dictionary, such as _metadata.
func (m *machine) build() error {
	items, err := m.pop(2)
	if err != nil {
		return err
	}
	if _, ok := items[0].(*dict); !ok {
		return fmt.Errorf("attributes for %s, which takes none", kind(items[0]))
	}
	m.push(items[0])
	return nil
}

// newTensor takes the arguments of _rebuild_tensor_v2: storage, offset, size, strides, and what inference ignores.
func newTensor(args tuple) (*tensor, error) {
	s, ok := args[0].(*storage)
	offset, isInt := args[1].(int64)
	size, err1 := integers(args[2])
	strides, err2 := integers(args[3])
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if !ok || !isInt || offset < 0 || len(size) != len(strides) {
		return nil, fmt.Errorf("%s, offset %s, %d sizes and %d strides", kind(args[0]), kind(args[1]), len(size), len(strides))
	}
	t := &tensor{storage: s, offset: offset, strides: strides}
	for _, n := range size {
		if n > math.MaxInt32 {
			return nil, fmt.Errorf("size %v is out of range", size)
		}
		t.shape = append(t.shape, int(n))
	}
	return t, t.check()
}

func integers(v any) ([]int64, error) {
	items, ok := v.(tuple)
	if !ok || len(items) > maxDims {
		return nil, fmt.Errorf("%s, where a tuple of at most %d integers is expected", kind(v), maxDims)
	}
	out := make([]int64, len(items))
	for i, item := range items {
		n, ok := item.(int64)
		if !ok || n < 0 {
			return nil, fmt.Errorf("%s, where an integer of at least 0 is expected", kind(item))
		}
		out[i] = n
	}
	return out, nil
}

// check demands that the view lies inside its storage and holds no more elements than it, so that a tensor never needs
// more memory than the file has bytes.
func (t *tensor) check() error {
	have := t.storage.count
	if t.offset > have {
		return fmt.Errorf("offset %d is beyond a storage of %d elements", t.offset, have)
	}
	if slices.Contains(t.shape, 0) {
		return nil
	}
	last, count := t.offset, int64(1)
	for i, n := range t.shape {
		if count > have/int64(n) || (n > 1 && t.strides[i] > have/int64(n-1)) {
			return fmt.Errorf("shape %v and strides %v do not fit a storage of %d elements", t.shape, t.strides, have)
		}
		count *= int64(n)
		last += int64(n-1) * t.strides[i]
	}
	if last >= have {
		return fmt.Errorf("shape %v with strides %v at %d ends at element %d of %d", t.shape, t.strides, t.offset, last, have)
	}
	return nil
}

// elements is the product of the shape, which check bounds.
func (t *tensor) elements() int64 {
	if slices.Contains(t.shape, 0) {
		return 0
	}
	n := int64(1)
	for _, d := range t.shape {
		n *= int64(d)
	}
	return n
}

// contiguous tells whether the elements lie in row-major order without gaps.
func (t *tensor) contiguous() bool {
	want := int64(1)
	for i := len(t.shape) - 1; i >= 0; i-- {
		if t.shape[i] != 1 && t.strides[i] != want {
			return false
		}
		want *= int64(t.shape[i])
	}
	return true
}

// parseID reads ("storage", type, key, location, elements[, view]); the location names a device and is ignored.
func parseID(id tuple) (*storage, error) {
	if len(id) < 5 || len(id) > 6 || id[0] != any("storage") {
		return nil, fmt.Errorf("an id of %d parts, where that of a storage is expected", len(id))
	}
	class, ok1 := id[1].(global)
	key, ok2 := id[2].(string)
	count, ok3 := id[4].(int64)
	dtype, ok4 := storageTypes[class]
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return nil, fmt.Errorf("a storage of %s with key %s and %s elements", kind(id[1]), kind(id[2]), kind(id[4]))
	}
	if len(id) == 6 && id[5] != nil {
		return nil, fmt.Errorf("storage %q is a view of another storage (PyTorch before 0.4), which is not supported", key)
	}
	if count < 0 || count > math.MaxInt64/16 {
		return nil, fmt.Errorf("storage %q has %d elements", key, count)
	}
	return &storage{key: key, dtype: dtype, count: count}, nil
}
