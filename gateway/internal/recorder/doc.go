// Package recorder writes the plans and outcomes of lark.answers.v1 to the job store, then publishes events for whoever watches the job.
// It is the end of the pipeline and keeps the ledger's law: every question of every window of an accepted job ends in exactly one outcome.
package recorder
