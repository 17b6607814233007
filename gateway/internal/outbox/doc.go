// Package outbox publishes the records that the job store has promised. The relay reads the outbox table in order, publishes the
// records to Kafka, and deletes the rows that the broker has acknowledged. A crash before the deletion publishes a record twice, which
// changes nothing downstream.
package outbox
