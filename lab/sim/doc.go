// Package sim runs the whole pipeline under a virtual clock, with faults that a seed decides, and checks the ledger's law: every question of
// every window of an accepted job ends in exactly one terminal outcome.
//
// What runs is the real code: the four stage services and the gateway with their runners, handlers, recorder, outbox, reaper, sweep and job
// store. Only what they run on is simulated (see shared/host): the broker is the embedded one on a network in memory, the object store is
// memory, SQLite has a hook before each statement, the engines are the test engines, and the clock is testing/synctest's. Minutes pass in
// milliseconds.
//
// A fault is decided by the seed, the record and the attempt, never by the order of calls. So a fault that a seed finds is found again
// by the same seed, also after an unrelated change.
package sim
