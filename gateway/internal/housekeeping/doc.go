// Package housekeeping does the gateway's periodic work: it keeps the object store within its budget, forgets old idempotency keys, deletes old
// jobs, and checks the ledger.
package housekeeping
