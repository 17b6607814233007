// Package event defines what travels on Larkstream's Kafka topics: the records, the topics that
// carry them, their headers and keys, and the identifiers derived from content. It imports nothing
// else of Larkstream, so that every room may import it.
//
// Records are protobuf (package eventpb, generated from proto/) with CloudEvents binary-mode
// headers. Encode turns a message into a Record; Decode turns a Record back and validates it.
package event

//go:generate buf generate
