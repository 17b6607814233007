// Package bench measures what the pipeline costs: the same windows through the real processes and through a plain loop over
// the same engines, the time that each hop adds, the latency of a repeated question, and the memory of every process.
package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/larkstream/larkstream/engine/audio/cut"
	"github.com/larkstream/larkstream/engine/audio/plan"
	"github.com/larkstream/larkstream/lab/engines"
)

const (
	sampleRate    = 44_100
	windowSamples = 25 * sampleRate
	// tracks that the windows are spread over.
	tracks = 8
	// turn is by how many samples each window is turned, so that no two are the same; a prime.
	turn = 7919
)

// makeTracks writes wav files with the given number of windows in all, each 25 s of the piece at source turned by another
// amount: real music, and no window twice.
func makeTracks(ctx context.Context, set *engines.Set, source, dir string, windows int) ([]string, error) {
	var base [][]int16
	_, err := set.Cut(ctx, source, plan.All, func(w cut.FileWindow) error {
		if len(w.PCM) == windowSamples {
			base = append(base, w.PCM)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(base) == 0 {
		return nil, fmt.Errorf("making tracks: %s is shorter than 25 s", source)
	}
	var paths []string
	next := 0
	for i := range min(tracks, windows) {
		n := (windows + i) / min(tracks, windows)
		path := filepath.Join(dir, fmt.Sprintf("track%02d.wav", i))
		if err := writeTrack(path, base, next, n); err != nil {
			return nil, err
		}
		next += n
		paths = append(paths, path)
	}
	return paths, nil
}

// writeTrack writes windows first .. first+n-1.
func writeTrack(path string, base [][]int16, first, n int) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("making track: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	out := bufio.NewWriterSize(file, 1<<20)
	if err := writeWavHeader(out, n*windowSamples); err != nil {
		return fmt.Errorf("writing track: %w", err)
	}
	for i := first; i < first+n; i++ {
		pcm := base[i%len(base)]
		at := i * turn % len(pcm)
		for _, part := range [][]int16{pcm[at:], pcm[:at]} {
			if err := binary.Write(out, binary.LittleEndian, part); err != nil {
				return fmt.Errorf("writing track: %w", err)
			}
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing track: %w", err)
	}
	return nil
}

// writeWavHeader writes the 44 bytes before 16-bit mono samples. http://soundfile.sapp.org/doc/WaveFormat/
func writeWavHeader(w io.Writer, samples int) error {
	data := uint32(2 * samples)
	header := struct {
		Riff         [4]byte
		Size         uint32
		Wave, Fmt    [4]byte
		FmtSize      uint32
		Format, Chan uint16
		Rate, Bytes  uint32
		Align, Bits  uint16
		Data         [4]byte
		DataSize     uint32
	}{
		Riff: [4]byte([]byte("RIFF")), Size: 36 + data, Wave: [4]byte([]byte("WAVE")), Fmt: [4]byte([]byte("fmt ")),
		FmtSize: 16, Format: 1, Chan: 1, Rate: sampleRate, Bytes: 2 * sampleRate, Align: 2, Bits: 16,
		Data: [4]byte([]byte("data")), DataSize: data,
	}
	return binary.Write(w, binary.LittleEndian, header)
}
