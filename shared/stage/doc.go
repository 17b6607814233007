// Package stage runs one stage of the pipeline. A Runner takes records from Kafka, hands them to a Handler, publishes what
// the handler returns, and commits, in that order. The four stage services use it through shared/worker; the gateway uses
// it for its recorder.
//
// Promises: every record is delivered at least once. Every sink is idempotent by outcome id, which makes the whole
// effectively once. No record is passed over: it ends in outputs, on a retry topic, or in a dead letter with a failed
// outcome for each of its questions. Records and bytes in flight are bounded.
//
// Lanes (see event.LaneOf): bulk records start while interactive ones leave handlers free, and have every tenth start when both wait (Config.BulkTurn). A person's
// record waits for one running handler at most, whatever lies on the bulk topics. A stage begins no more of a lane while the next stage has too
// much of it unread.
//
// The contract between the runner and a handler:
//   - Records of one key and lane are handled one after another in order; different keys run in parallel.
//   - nil: the outputs are published and acknowledged, then the record is done.
//   - Permanent: a dead letter, and a failed outcome for every question of the record.
//   - Later: the record is put back for a while, and no attempt is counted.
//   - Unavailable: attempts in place as for any error; then the stage pauses until the record can be handled, and counts nothing.
//   - Any other error: another attempt in place after a jittered wait, then on each of the delayed retry topics, then as
//     Permanent with the code of Coded, or with "internal".
//   - The handler's context ends when the job is cancelled or past its deadline; the questions then end as cancelled. It
//     also ends when the partition is taken away and at the end of the drain; then nothing is published or committed, and
//     the record comes again.
//
// A record passes four types, one after another:
//
//	inbox      what is polled and waits; pauses and resumes its partition
//	admitter   waits until the record is due, then in the queue of its key, then until it fits the budgets (gate)
//	processor  runs the handler, with the job's cancel and deadline
//	settler    publishes outputs, retries, dead letters and outcomes; then the partition's offsets may move
//
// The Runner itself deals with the consumer group: which partitions are ours, and how they are given back.
package stage
