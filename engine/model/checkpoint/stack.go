package checkpoint

import (
	"errors"
	"fmt"
	"io"
)

var errUnderflow = errors.New("the stack is empty")

func (m *machine) push(v any) { m.stack = append(m.stack, v) }

// pop takes n values. None of them may be a mark.
func (m *machine) pop(n int) ([]any, error) {
	at := len(m.stack) - n
	if at < 0 {
		return nil, errUnderflow
	}
	items := append([]any(nil), m.stack[at:]...)
	for _, v := range items {
		if _, ok := v.(mark); ok {
			return nil, errors.New("a mark where a value is expected")
		}
	}
	m.stack = m.stack[:at]
	return items, nil
}

// popToMark takes the values above the last mark, and the mark.
func (m *machine) popToMark() ([]any, error) {
	for at := len(m.stack) - 1; at >= 0; at-- {
		if _, ok := m.stack[at].(mark); ok {
			items := append([]any(nil), m.stack[at+1:]...)
			m.stack = m.stack[:at]
			return items, nil
		}
	}
	return nil, errors.New("no mark on the stack")
}

func (m *machine) count() error {
	if m.objects++; m.objects > maxObjects {
		return fmt.Errorf("more than %d objects", maxObjects)
	}
	return nil
}

func (m *machine) byte() (byte, error) {
	b, err := m.in.ReadByte()
	if err != nil {
		return 0, cut(err)
	}
	m.used++
	return b, nil
}

// bytes reads n bytes; n is at most maxString.
func (m *machine) bytes(n int) ([]byte, error) {
	raw := make([]byte, n)
	if _, err := io.ReadFull(m.in, raw); err != nil {
		return nil, cut(err)
	}
	m.used += int64(n)
	return raw, nil
}

// cut explains the end of a pickle before its STOP.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the pickle has no end within %d bytes: the file is cut short or damaged", int64(maxPickle))
	}
	return fmt.Errorf("reading the pickle: %w", err)
}

func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case global:
		return string(v)
	case *dict:
		return "a dictionary"
	case *list:
		return "a list"
	case tuple:
		return "a tuple"
	case *storage:
		return "a storage"
	case *tensor:
		return "a tensor"
	}
	return fmt.Sprintf("a value of type %T", v)
}
