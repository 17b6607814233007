// Package store keeps jobs, their outcomes, the outbox and idempotency keys in SQL. The store is the truth about a job: Kafka carries
// records from stage to stage, the store remembers what was promised to the user and how it ended.
package store
