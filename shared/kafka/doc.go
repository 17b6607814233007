// Package kafka speaks to Kafka for the rest of Larkstream: a producer, a reader without a consumer group (Tail),
// provisioning of topics, consumer lag, and the embedded broker of lark up. Only this package and shared/stage import
// the client library, franz-go.
//
// The gateway and the stages publish with Producer; the gateway follows events and control records with Tail; lark up
// runs the Broker.
//
// Promises: Publish returns once all in-sync replicas have acknowledged every record. A key goes to the partition that
// Kafka's own clients would choose. Emit never blocks, and counts what it drops. Tail reconnects for as long as its
// context lives. The embedded broker keeps every acknowledged record when its process is killed.
package kafka
