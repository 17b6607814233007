package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
)

const wavHeader = 44

// readWAV reads the trainer's own wav files: a 44-byte header, 16-bit mono PCM at 44.1 kHz.
func readWAV(path string) ([]int16, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading audio: %w", err)
	}
	if len(raw) < wavHeader || string(raw[:4]) != "RIFF" || string(raw[36:40]) != "data" ||
		binary.LittleEndian.Uint16(raw[22:]) != 1 || binary.LittleEndian.Uint32(raw[24:]) != 44100 || binary.LittleEndian.Uint16(raw[34:]) != 16 {
		return nil, fmt.Errorf("reading %s: not 16-bit mono PCM at 44.1 kHz with a plain header", path)
	}
	pcm := make([]int16, (len(raw)-wavHeader)/2)
	for i := range pcm {
		pcm[i] = int16(binary.LittleEndian.Uint16(raw[wavHeader+2*i:]))
	}
	return pcm, nil
}

// writeNPY writes a little-endian f32 array in NumPy's format 1.0, whole or not at all.
func writeNPY(path string, shape []int, data []float32) error {
	dims := make([]string, len(shape))
	for i, n := range shape {
		dims[i] = strconv.Itoa(n)
	}
	header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%s,), }", strings.Join(dims, ", "))
	header += strings.Repeat(" ", 63-(10+len(header))%64) + "\n"
	var buf bytes.Buffer
	buf.WriteString("\x93NUMPY\x01\x00")
	_ = binary.Write(&buf, binary.LittleEndian, uint16(len(header)))
	buf.WriteString(header)
	_ = binary.Write(&buf, binary.LittleEndian, data)
	if err := os.WriteFile(path+".part", buf.Bytes(), 0o600); err != nil {
		return fmt.Errorf("writing features: %w", err)
	}
	if err := os.Rename(path+".part", path); err != nil {
		return fmt.Errorf("writing features: %w", err)
	}
	return nil
}
