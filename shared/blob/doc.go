// Package blob stores objects that are too large for Kafka: audio, windows of PCM, embeddings, soft prompts. A record
// carries an object's key, and whoever needs the bytes reads them here (the claim check pattern).
//
// The gateway writes audio, each stage reads its input and writes its output, and the gateway sweeps. Open takes a URL:
// file:///dir, s3://bucket for every store that speaks S3, and mem:// for tests. Google Cloud Storage is reached through
// its S3 interface: s3://bucket?endpoint=https://storage.googleapis.com&region=auto.
//
// Promises: a reader sees an old object or a new one, never a part of one. Every write and read has a size limit. Audio,
// which nobody can make again, is on disk before Put returns. Keys are checked, so no key leaves the store's folder. Sweep
// keeps the store within a budget and deletes what is cheapest to make again first.
package blob
