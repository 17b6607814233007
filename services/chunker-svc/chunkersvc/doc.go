// Package chunkersvc is the facade of chunker-svc: it decodes audio files and cuts them into windows of 44.1 kHz mono PCM. It reads
// lark.jobs.v1 and writes lark.windows.v1, lark.embeddings.v1 and, for the recorder, lark.answers.v1.
package chunkersvc
