package audio

import (
	"crypto/sha256"
	"hash"
)

// Revision names how PCM is made from a file (resampler, downmix). It is part of every window's hash: a change here makes new windows
// and so new embeddings.
const Revision = "pcm-1"

// WindowHash starts the hash of a window. Write the window's s16 little-endian PCM to it; the sum in hex is the window's name.
func WindowHash() hash.Hash {
	h := sha256.New()
	h.Write([]byte(Revision + "\n"))
	return h
}
