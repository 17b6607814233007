package cache

import (
	"errors"
	"fmt"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Shape is the size of a tensor. 0 for rows or columns stands for any number of them where a Shape says what is wanted.
type Shape struct{ Rows, Cols int }

// fits tells whether a tensor of shape s may stand where want is wanted.
func (s Shape) fits(want Shape) bool {
	return (want.Rows == 0 || s.Rows == want.Rows) && (want.Cols == 0 || s.Cols == want.Cols)
}

// unusable is a stored value that must not be used: it is discarded and counts as a miss.
type unusable struct {
	// reason is one of telemetry's Discard values.
	reason string
	err    error
}

func (u *unusable) Error() string { return u.err.Error() }
func (u *unusable) Unwrap() error { return u.err }

// discarded makes a miss of an unusable value.
func discarded(key string, why error) error { return fmt.Errorf("%w: %w", miss(key), why) }

// seal makes the stored form of a tensor, which must be finite.
func seal(key string, t tensor.Matrix, dtype DType) ([]byte, error) {
	if !tensor.Finite(t.Data) {
		return nil, fmt.Errorf("storing %s: it holds NaN or infinity", key)
	}
	raw, err := Encode(key, t, dtype, DefaultCodec)
	if err != nil {
		return nil, fmt.Errorf("storing %s: %w", key, err)
	}
	return raw, nil
}

// unseal reads the stored form of what must be a tensor of the wanted shape stored under key. Its errors are *unusable.
func unseal(key string, raw []byte, want Shape) (tensor.Matrix, error) {
	h, err := readHead(raw, len(raw))
	if err != nil {
		return tensor.Matrix{}, &unusable{telemetry.DiscardCorrupt, err}
	}
	if err := h.belongs(key, want); err != nil {
		return tensor.Matrix{}, err
	}
	_, t, err := Decode(raw)
	if err != nil {
		return tensor.Matrix{}, &unusable{telemetry.DiscardCorrupt, err}
	}
	if !tensor.Finite(t.Data) {
		return tensor.Matrix{}, &unusable{telemetry.DiscardNotFinite, errors.New("the stored tensor holds NaN or infinity")}
	}
	return t, nil
}

// shapeOf reads the shape of a stored value of size bytes from its beginning. Its errors are *unusable.
func shapeOf(key string, raw []byte, size int64, want Shape) (Shape, error) {
	if size > maxStored {
		return Shape{}, &unusable{telemetry.DiscardCorrupt, fmt.Errorf("%w: %d bytes", ErrCorrupt, size)}
	}
	h, err := readHead(raw, int(size))
	if err != nil {
		return Shape{}, &unusable{telemetry.DiscardCorrupt, err}
	}
	return h.shape, h.belongs(key, want)
}

// belongs compares a head with the key that it was found under and with the shape that is wanted there.
func (h *head) belongs(key string, want Shape) error {
	if h.key != "" && h.key != key {
		return &unusable{telemetry.DiscardKey, fmt.Errorf("the stored tensor belongs to %s", h.key)}
	}
	if !h.shape.fits(want) {
		return &unusable{telemetry.DiscardShape, fmt.Errorf("the stored tensor has the shape %d x %d, wanted is %d x %d (0: any)",
			h.shape.Rows, h.shape.Cols, want.Rows, want.Cols)}
	}
	return nil
}
