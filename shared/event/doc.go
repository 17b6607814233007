// Package event defines what travels on Larkstream's Kafka topics: the records, their topics, headers and keys, and the
// ids that follow from content. It imports nothing else of Larkstream, so that every room may import it, and every room
// does.
//
// Records are protobuf (package eventpb, generated from proto/) with the headers of CloudEvents in binary mode. Encode
// turns a message into a Record. Decode turns a Record into a message and validates it.
//
// Promises: the same step done twice makes the same ids, which is what makes delivery effectively once. Whatever Decode
// returns is within the limits of this package. docs/api/asyncapi.yaml and deployments/topics.yaml say the same as Topics;
// tests compare them.
package event
