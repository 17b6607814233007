// Command features writes the features of every .wav file of a folder for the trainer: NAME.semitones.npy, NAME.mel.npy, NAME.pulse.npy,
// NAME.keys.npy, NAME.beats.npy and NAME.tempogram.npy (f32) beside NAME.wav. Files that have all six are skipped. With -remove, a wav is removed once its features are on disk.
//
//	features [-remove] [-jobs N] FOLDER
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/larkstream/larkstream/engine/encoder/features"
)

func main() {
	remove := flag.Bool("remove", false, "remove each wav after its features are written")
	jobs := flag.Int("jobs", 1, "files to work on at once")
	flag.Parse()
	if flag.NArg() != 1 || *jobs < 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *remove, *jobs); err != nil {
		fmt.Fprintln(os.Stderr, "features:", err)
		os.Exit(1)
	}
}

func run(folder string, remove bool, jobs int) error {
	// A clip's label is written after its wav: it says that the wav is whole.
	labels, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return fmt.Errorf("listing %s: %w", folder, err)
	}
	work, errs := make(chan string), make(chan error, jobs)
	var group sync.WaitGroup
	for range jobs {
		group.Go(func() {
			extractor := features.New()
			for base := range work {
				if err := convert(extractor, base, remove); err != nil {
					select {
					case errs <- err:
					default: // one error is enough to report
					}
				}
			}
		})
	}
	for _, label := range labels {
		work <- strings.TrimSuffix(label, ".json")
	}
	close(work)
	group.Wait()
	close(errs)
	return <-errs
}

func convert(extractor *features.Extractor, base string, remove bool) error {
	last := base + ".tempogram.npy"
	if _, err := os.Stat(last); err == nil {
		return nil
	}
	pcm, err := readWAV(base + ".wav")
	if err != nil {
		return err
	}
	f, err := extractor.Extract(pcm)
	if err != nil {
		return fmt.Errorf("extracting %s: %w", base, err)
	}
	tempograms := f.Tempograms
	for _, out := range []struct {
		path  string
		shape []int
		data  []float32
	}{
		{base + ".semitones.npy", []int{f.Semitones.Rows, f.Semitones.Cols}, f.Semitones.Data},
		{base + ".mel.npy", []int{f.Mel.Rows, f.Mel.Cols}, f.Mel.Data},
		{base + ".pulse.npy", []int{f.Pulse.Rows, f.Pulse.Cols}, f.Pulse.Data},
		{base + ".keys.npy", []int{f.Keys.Rows, f.Keys.Cols}, f.Keys.Data},
		{base + ".beats.npy", []int{len(f.Beats)}, f.Beats},
		{last, []int{tempograms.Rows / features.Lags, features.Lags, features.Groups}, tempograms.Data},
	} {
		if err := writeNPY(out.path, out.shape, out.data); err != nil {
			return err
		}
	}
	if remove {
		if err := os.Remove(base + ".wav"); err != nil {
			return fmt.Errorf("removing converted audio: %w", err)
		}
	}
	return nil
}
