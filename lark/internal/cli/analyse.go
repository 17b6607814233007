package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/mir"
	"github.com/larkstream/larkstream/lark/internal/analyse"
)

// analyseFlags are what lark analyse is told.
type analyseFlags struct {
	json, beats, chords bool
	from, to            string
	maxDuration         time.Duration
	span                analyse.Span
}

func (a *app) analyseCommand() *cobra.Command {
	var flags analyseFlags
	cmd := &cobra.Command{
		Use: "analyse FILE...", Short: "Measure tempo, key, chords and loudness of audio files", Args: cobra.MinimumNArgs(1),
		Long: `Measures audio files by signal processing, without any model: whether it is music at all, tempo with its other readings,
metre, key and tuning, beats and chords, loudness by EBU R 128, levels, clipping and silence. Each reading has in brackets how likely it is to
be right. docs/analyse.md says how each is found and what it cannot do; docs/benchmarks/mir.md how often it is right.

A damaged file is measured as far as it goes, and warnings say what is wrong with it. Files are streamed, so memory does not grow with their
length. The exit code is 0 only if every file was measured.`,
		Example: `  lark analyse song.mp3
  lark analyse *.flac --json | jq -r '[.file, .tempo.bpm, .key.name] | @tsv'
  lark analyse song.mp3 --beats > beats.tsv       seconds, beat of the bar, chord
  lark analyse song.mp3 --chords --from 1:00 --to 1:30`,
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := flags.check(len(files)); err != nil {
				return usage(err)
			}
			return a.analyse(cmd.Context(), files, flags)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&flags.json, "json", false, "print one JSON object per file, one per line, beats and chords included")
	f.BoolVar(&flags.beats, "beats", false, "print a line per beat: seconds, beat of the bar (1 is the downbeat), chord")
	f.BoolVar(&flags.chords, "chords", false, "print a line per chord: from and to in seconds, name (N: none)")
	f.StringVar(&flags.from, "from", "0", "where to start, in `seconds` or as m:ss")
	f.StringVar(&flags.to, "to", "", "where to stop (default: the end)")
	f.DurationVar(&flags.maxDuration, "max-duration", 12*time.Hour, "longest file")
	return cmd
}

func (f *analyseFlags) check(files int) (err error) {
	if (f.beats || f.chords) && files > 1 {
		return errors.New("--beats and --chords take one file: their lines do not name it; --json does")
	}
	if f.json && (f.beats || f.chords) || f.beats && f.chords {
		return errors.New("of --json, --beats and --chords only one can be given")
	}
	f.span = analyse.Whole()
	if f.span.From, err = parseClock(f.from); err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	if f.to != "" {
		if f.span.To, err = parseClock(f.to); err != nil {
			return fmt.Errorf("--to: %w", err)
		}
	}
	if f.span.To <= f.span.From {
		return fmt.Errorf("--to %s must be after --from %s", f.to, f.from)
	}
	if f.maxDuration <= 0 {
		return errors.New("--max-duration must be above 0")
	}
	return nil
}

// parseClock reads 90, 90.5, 1:30 or 1:02:03.
func parseClock(s string) (float64, error) {
	total := 0.0
	parts := strings.Split(s, ":")
	for i, p := range parts {
		v, err := strconv.ParseFloat(p, 64)
		if err != nil || v < 0 || !(v < math.MaxInt32) || len(parts) > 3 || i > 0 && v >= 60 {
			return 0, fmt.Errorf("%q is no time: write seconds, m:ss or h:mm:ss", s)
		}
		total = total*60 + v
	}
	return total, nil
}

func (a *app) analyse(ctx context.Context, files []string, flags analyseFlags) error {
	decoder, err := audio.NewDecoder(ctx, audio.Config{Limits: audio.Limits{
		FileBytes: 1 << 40, Duration: flags.maxDuration, DecodedBytes: 1 << 42, Timeout: 24 * time.Hour,
	}})
	if err != nil {
		return err
	}
	failed := false
	for _, file := range files {
		if err := a.analyseFile(ctx, decoder, file, flags); err != nil {
			if ctx.Err() != nil {
				return err
			}
			_, _ = fmt.Fprintf(a.Err, "lark: %v\n", err)
			failed = true
		}
	}
	if failed {
		return errSilent
	}
	return nil
}

func (a *app) analyseFile(ctx context.Context, decoder *audio.Decoder, file string, flags analyseFlags) error {
	var beats []mir.Beat
	m, err := analyse.File(ctx, decoder, file, flags.span, func(b mir.Beat) {
		switch {
		case flags.beats:
			a.printf("%.3f\t%d\t%s\n", b.Seconds, b.InBar, b.Chord)
		case flags.json, flags.chords:
			beats = append(beats, b)
		}
	})
	if err != nil {
		return err
	}
	if flags.beats || flags.chords {
		for _, w := range m.Faults.Warnings() {
			_, _ = fmt.Fprintf(a.Err, "warning: %s\n", w.Message) // not among the lines
		}
	}
	switch {
	case flags.json:
		return json.NewEncoder(a.Out).Encode(analyse.NewReport(m, beats))
	case flags.chords:
		for _, c := range analyse.Merge(beats, m.Offset+m.Seconds) {
			a.printf("%.3f\t%.3f\t%s\n", c.From, c.To, c.Name)
		}
	case !flags.beats:
		analyse.Write(a.Out, m)
	}
	return nil
}
