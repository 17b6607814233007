package whisper

import "github.com/larkstream/larkstream/engine/model/audiobundle"

// Frames is the number of frames of the spectrogram that so many samples have.
func Frames(samples int) int { return (samples + audiobundle.Hop - 1) / audiobundle.Hop }

// Rows is the number of rows behind the stem for so many frames that see one another.
func Rows(frames int) int { return (frames + 1) / 2 }

// Tokens is the number of pooled frames for so many samples. 200 frames make 50 of them, so that it is the same for whole windows and for blocks.
func Tokens(samples int) int { return (Frames(samples) + 1) / 4 }
