// Package cache keeps embeddings and soft prompts, so that a second question about a track never reaches the encoder.
//
// The stages use it between them: the encoder puts an embedding, the chunker asks whether it is there, the projector gets
// it. Objects in a blob store are the truth; Redis stands before them as a hint. Losing all of Redis costs time and no
// answer, and a Redis that fails is left alone for a while.
//
// Promises: a value never changes under its key, so nothing is ever invalidated. Get returns what was put, within the
// precision of the number format (F16 unless configured). A damaged value is deleted and counts as a miss.
package cache
