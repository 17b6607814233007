// Package npy writes arrays as NumPy reads them: format version 1.0, little-endian, C order
// (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
package npy

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// align is what the length of the header is a multiple of.
const align = 64

// Write writes values of the given shape to w.
func Write[T int32 | float32](w io.Writer, values []T, shape ...int) error {
	count, sizes := 1, make([]string, len(shape))
	for i, d := range shape {
		count *= d
		sizes[i] = strconv.Itoa(d)
	}
	if count != len(values) {
		return fmt.Errorf("writing an array: %d values do not have shape %v", len(values), shape)
	}
	tuple := strings.Join(sizes, ", ")
	if len(shape) == 1 {
		tuple += ","
	}
	kind := "<i4"
	if _, float := any(values).([]float32); float {
		kind = "<f4"
	}
	const prefix = 10
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", kind, tuple)
	header += strings.Repeat(" ", (align-(prefix+len(header)+1)%align)%align) + "\n"
	start := append([]byte("\x93NUMPY\x01\x00"), 0, 0)
	binary.LittleEndian.PutUint16(start[8:], uint16(len(header)))
	if _, err := io.WriteString(w, string(start)+header); err != nil {
		return err
	}
	return binary.Write(w, binary.LittleEndian, values)
}

// WriteFile writes values of the given shape to a file.
func WriteFile[T int32 | float32](path string, values []T, shape ...int) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing an array: %w", err)
	}
	buffered := bufio.NewWriter(f)
	if err := errors.Join(Write(buffered, values, shape...), buffered.Flush(), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
