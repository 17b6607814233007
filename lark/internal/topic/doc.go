// Package topic reads and writes Kafka topics for `lark topic dump` and `lark topic replay`: it turns records into JSON
// lines that a person can read and search, and publishes such lines again byte for byte. It speaks to the broker with
// kafka-go, not with the client of the pipeline, so that an operator has a second opinion on what a topic holds.
package topic
