// Package dataset makes training data out of open collections of music, in LLark's way: clips of one form, annotations by signal processing, pairs of
// question and answer by rules or by a language model, frames of a frozen encoder, splits without leaks, and files that trainers read.
//
// A set is a folder with one folder a collection. In it each step has a file of JSON lines with exactly one line a clip, in the order of clips.jsonl:
//
//	SET/musicnet/clips.jsonl          clips, by Import
//	SET/musicnet/annotations.jsonl    tempo, beats, key, chords, loudness, by Annotate
//	SET/musicnet/pairs.*.jsonl        pairs by family and maker, with verdicts, by Generate
//	SET/musicnet/frames.jsonl         where the encoder's frames lie, by Encode
//	SET/musicnet/splits.jsonl         train, validation or test, by Split
//
// So a step goes on after the last whole line, steps are joined by reading files side by side, and memory does not grow with the set. Beside each
// file lies NAME.settings.json with what it was made with: a step refuses to go on with other settings.
package dataset
