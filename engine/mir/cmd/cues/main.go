// Command cues writes what engine/mir's judges see of recordings, for training/peers/mir_fit.py: a JSON object per file named on standard input.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/mir"
)

func main() {
	if err := run(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cues:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, in io.Reader, out io.Writer) error {
	decoder, err := audio.NewDecoder(ctx, audio.Config{Limits: audio.Limits{
		FileBytes: 1 << 28, Duration: 10 * time.Minute, DecodedBytes: 1 << 30, Timeout: time.Minute,
	}})
	if err != nil {
		return err
	}
	w := bufio.NewWriter(out)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var pcm []int16
		open := func() (io.ReadCloser, error) { return os.Open(lines.Text()) }
		_, err := decoder.Decode(ctx, open, math.MaxInt64, func(b []int16) error { pcm = append(pcm, b...); return nil })
		if err != nil {
			return fmt.Errorf("decoding %s: %w", lines.Text(), err)
		}
		cues := mir.CuesOf(pcm)
		for _, row := range cues.Tempo {
			for i, v := range row {
				row[i] = math.Round(v*1e4) / 1e4
			}
		}
		if err := json.NewEncoder(w).Encode(struct {
			File string `json:"file"`
			mir.Cues
		}{lines.Text(), cues}); err != nil {
			return fmt.Errorf("writing cues: %w", err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading the list of files: %w", err)
	}
	return w.Flush()
}
