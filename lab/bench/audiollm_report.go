package bench

import (
	"fmt"
	"io"
	"runtime"
)

// Write prints the report as Markdown.
func (r AudioLLMReport) Write(w io.Writer) {
	fmt.Fprintf(w, "Model %s. %s.\nCommand: `%s`; %g s of audio, medians of %d rounds in turns.\n\n", r.Model, r.Machine, r.Command, r.AudioSeconds, r.Rounds)
	if r.Load > float64(runtime.NumCPU())/4 {
		fmt.Fprintf(w, "The machine was busy with other work (load average %.1f before the run): wall time and tokens a second mean little, core-seconds somewhat more.\n\n", r.Load)
	}
	if len(r.Encoder) > 0 {
		r.writeEncoder(w)
	}
	if r.Decoder != nil {
		fmt.Fprintf(w, "The decoder has %d layers. Engine and loop together took at most %d MiB.\n\n", r.DecoderLayers, r.Memory.Peak>>20)
		r.Decoder.Write(w)
	}
}

// writeEncoder compares each precision, and the best of ours with the best of the peer.
func (r AudioLLMReport) writeEncoder(w io.Writer) {
	fmt.Fprintf(w, "| encoder | precision | core-seconds | wall, s | peak, MiB | frames differ from the first by |\n| --- | --- | --- | --- | --- | --- |\n")
	best := map[bool]EncoderSystem{}
	for _, s := range r.Encoder {
		fmt.Fprintf(w, "| %s | %s | %.2f (rounds: %s) | %.2f | %d | %.2g |\n", s.System, s.Precision, s.CoreSeconds,
			rounds(coreSeconds(s.Runs), same), s.WallSeconds, s.Memory.Peak>>20, s.Difference.Frames)
		own := s.System == r.Encoder[0].System
		if known, ok := best[own]; !ok || s.CoreSeconds < known.CoreSeconds {
			best[own] = s
		}
	}
	ours, theirs := best[true], best[false]
	if theirs.System != "" {
		fmt.Fprintf(w, "\nOurs in %s is %.2f times as fast as the peer in %s, in core-seconds.\n", ours.Precision, theirs.CoreSeconds/ours.CoreSeconds, theirs.Precision)
	}
	fmt.Fprintln(w)
}

func coreSeconds(runs []EncoderRun) []float64 {
	var list []float64
	for _, run := range runs {
		list = append(list, run.CoreSeconds)
	}
	return list
}
