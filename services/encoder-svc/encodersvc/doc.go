// Package encodersvc is the facade of encoder-svc: it turns windows of audio into embeddings. It reads lark.windows.v1 and writes
// lark.embeddings.v1.
package encodersvc
