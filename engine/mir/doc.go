// Package mir measures music by signal processing: tempo, beats and bars, key, tuning and chords, loudness and levels, and whether a recording is music at all.
//
// It takes 44.1 kHz mono PCM as a stream and needs no model file. The way from samples to readings:
//
//	samples -> K-weighting                     -> loudness (loudness.go)
//	        -> 22 kHz, spectra of 46 ms         -> levels of 40 bands -> onset strengths -> tempogram -> tempo -> beats -> bars
//	        -> 11 kHz, spectra of 0.37 s        -> spectral peaks -> tuning -> chroma -> chords of the beats, key
//
// Where evidence has to be weighed (which of several tempi, keys, metres or kinds of sound) a judge does it: a softmax over linear scores of named cues, whose
// weights training/peers/mir_fit.py fits on labelled clips (weights.go). Its probabilities are the readings' confidence.
//
// What it cannot do: it hears one tempo at a time and follows it only as far as it changes slowly; keys are major or minor, chords major or minor triads;
// metres are 2/4, 3/4, 4/4 and 6/8. docs/benchmarks/mir.md tells how often the readings are right.
package mir
