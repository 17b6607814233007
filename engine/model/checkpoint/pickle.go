package checkpoint

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Bounds of a pickle. The one of the published 5-billion-parameter prior has about 200 kB, 15,000 objects and strings
// below 100 bytes; its configuration nests four deep.
const (
	maxPickle  = 8 << 20
	maxObjects = 1 << 18 // dicts, lists, tuples, tensors, strings
	maxMemo    = 1 << 18
	maxStack   = 1 << 16
	maxString  = 1 << 16 // bytes
)

// Values of the machine: nil, bool, int64, float64, string, mark, tuple, *list, *dict, global, *storage, *tensor.
type (
	mark   struct{}
	tuple  []any
	list   struct{ items []any }
	pair   struct{ key, value any }
	dict   struct{ items []pair }
	global string
)

// machine runs the few pickle operations that a checkpoint needs. It builds plain values and calls nothing: the only
// only names it knows belong to storages, tensors, dictionaries and sizes.
type machine struct {
	in      *bufio.Reader
	used    int64 // bytes taken from in
	stack   []any
	memo    map[uint32]any
	objects int
	// find turns a persistent id into a storage.
	find func(tuple) (*storage, error)
}

// unpickle reads one pickle and returns its value and its length in bytes.
func unpickle(r io.Reader, find func(tuple) (*storage, error)) (any, int64, error) {
	m := &machine{in: bufio.NewReader(io.LimitReader(r, maxPickle)), memo: map[uint32]any{}, find: find}
	for {
		op, err := m.byte()
		if err != nil {
			return nil, 0, err
		}
		if op == opStop {
			break
		}
		if err := m.step(op); err != nil {
			return nil, 0, fmt.Errorf("at byte %d of the pickle: %w", m.used-1, err)
		}
		if len(m.stack) > maxStack {
			return nil, 0, fmt.Errorf("the pickle's stack holds more than %d values", maxStack)
		}
	}
	if len(m.stack) != 1 || m.stack[0] == any(mark{}) {
		return nil, 0, fmt.Errorf("the pickle ends with %d values, where 1 is expected", len(m.stack))
	}
	return m.stack[0], m.used, nil
}

// Operations of pickle protocol 2, see pickletools in the Python standard library.
const (
	opMark       = '('
	opStop       = '.'
	opNone       = 'N'
	opTrue       = 0x88
	opFalse      = 0x89
	opInt        = 'J'
	opInt1       = 'K'
	opInt2       = 'M'
	opLong1      = 0x8a
	opFloat      = 'G'
	opUnicode    = 'X'
	opEmptyDict  = '}'
	opEmptyList  = ']'
	opEmptyTuple = ')'
	opTuple      = 't'
	opTuple1     = 0x85
	opTuple2     = 0x86
	opTuple3     = 0x87
	opAppend     = 'a'
	opAppends    = 'e'
	opSetItem    = 's'
	opSetItems   = 'u'
	opPut        = 'q'
	opLongPut    = 'r'
	opGet        = 'h'
	opLongGet    = 'j'
	opGlobal     = 'c'
	opReduce     = 'R'
	opBuild      = 'b'
	opPersID     = 'Q'
	opProto      = 0x80
)

func (m *machine) step(op byte) error {
	switch op {
	case opProto:
		version, err := m.byte()
		if err == nil && version != 2 {
			err = fmt.Errorf("pickle protocol %d, where 2 is expected", version)
		}
		return err
	case opMark:
		m.push(mark{})
		return nil
	case opInt, opInt1, opInt2, opLong1, opFloat, opUnicode, opNone, opTrue, opFalse:
		return m.scalar(op)
	case opEmptyDict, opEmptyList, opEmptyTuple, opTuple, opTuple1, opTuple2, opTuple3:
		return m.collection(op)
	case opAppend, opAppends, opSetItem, opSetItems:
		return m.extend(op)
	case opPut, opLongPut, opGet, opLongGet:
		return m.remember(op)
	case opGlobal, opReduce, opBuild, opPersID:
		return m.object(op)
	}
	return fmt.Errorf("operation %#02x is not allowed in a checkpoint", op)
}

func (m *machine) scalar(op byte) error {
	switch op {
	case opNone:
		m.push(nil)
		return nil
	case opTrue, opFalse:
		m.push(op == opTrue)
		return nil
	case opUnicode:
		return m.text()
	case opLong1:
		return m.long()
	}
	raw, err := m.bytes(map[byte]int{opInt: 4, opInt1: 1, opInt2: 2, opFloat: 8}[op])
	if err != nil {
		return err
	}
	switch op {
	case opInt1:
		m.push(int64(raw[0]))
	case opInt2:
		m.push(int64(binary.LittleEndian.Uint16(raw)))
	case opInt:
		m.push(int64(int32(binary.LittleEndian.Uint32(raw))))
	case opFloat:
		m.push(math.Float64frombits(binary.BigEndian.Uint64(raw)))
	}
	return nil
}

func (m *machine) text() error {
	raw, err := m.bytes(4)
	if err != nil {
		return err
	}
	n := binary.LittleEndian.Uint32(raw)
	if n > maxString {
		return fmt.Errorf("a string of %d bytes, where at most %d are allowed", n, maxString)
	}
	if raw, err = m.bytes(int(n)); err != nil {
		return err
	}
	m.push(string(raw))
	return m.count()
}

// long reads an integer of up to 8 bytes, little-endian two's complement.
func (m *machine) long() error {
	n, err := m.byte()
	if err != nil {
		return err
	}
	if n > 8 {
		return fmt.Errorf("an integer of %d bytes, where at most 8 are allowed", n)
	}
	raw, err := m.bytes(int(n))
	if err != nil {
		return err
	}
	v := int64(0)
	for i := len(raw) - 1; i >= 0; i-- {
		v = v<<8 | int64(raw[i])
	}
	if shift := 64 - 8*len(raw); n > 0 {
		v = v << shift >> shift
	}
	m.push(v)
	return nil
}

func (m *machine) collection(op byte) error {
	if err := m.count(); err != nil {
		return err
	}
	switch op {
	case opEmptyDict:
		m.push(&dict{})
	case opEmptyList:
		m.push(&list{})
	case opEmptyTuple:
		m.push(tuple(nil))
	case opTuple:
		items, err := m.popToMark()
		if err != nil {
			return err
		}
		m.push(tuple(items))
	default:
		items, err := m.pop(int(op-opTuple1) + 1)
		if err != nil {
			return err
		}
		m.push(tuple(items))
	}
	return nil
}

// extend adds what lies above a list or dictionary on the stack to it.
func (m *machine) extend(op byte) error {
	items, err := m.arguments(op)
	if err != nil {
		return err
	}
	if len(m.stack) == 0 {
		return errUnderflow
	}
	switch top := m.stack[len(m.stack)-1].(type) {
	case *list:
		if op != opAppend && op != opAppends {
			return errors.New("items with keys for a list")
		}
		top.items = append(top.items, items...)
	case *dict:
		if (op != opSetItem && op != opSetItems) || len(items)%2 != 0 {
			return errors.New("items without keys for a dictionary")
		}
		for i := 0; i < len(items); i += 2 {
			top.items = append(top.items, pair{items[i], items[i+1]})
		}
	default:
		return fmt.Errorf("items for %s, which takes none", kind(top))
	}
	return nil
}

func (m *machine) arguments(op byte) ([]any, error) {
	switch op {
	case opAppend:
		return m.pop(1)
	case opSetItem:
		return m.pop(2)
	}
	return m.popToMark()
}

func (m *machine) remember(op byte) error {
	width := 1
	if op == opLongPut || op == opLongGet {
		width = 4
	}
	raw, err := m.bytes(width)
	if err != nil {
		return err
	}
	index := uint32(raw[0])
	if width == 4 {
		index = binary.LittleEndian.Uint32(raw)
	}
	if op == opGet || op == opLongGet {
		v, ok := m.memo[index]
		if !ok {
			return fmt.Errorf("memo %d is not set", index)
		}
		m.push(v)
		return nil
	}
	v, err := m.pop(1)
	if err != nil {
		return err
	}
	m.push(v[0])
	if m.memo[index] = v[0]; len(m.memo) > maxMemo {
		return fmt.Errorf("the memo holds more than %d values", maxMemo)
	}
	return nil
}
