// Package service runs the parts of a process: it starts them in order, serves health, readiness and metrics over HTTP,
// and stops them in reverse order when its context ends. The gateway, every stage and the embedded broker run in it.
//
// Promises: readiness fails before anything stops. A part is stopped only after those that were started later. The whole
// end takes no longer than the drain timeout, and ErrDrain says when that was too short. Common holds the settings that
// every process has.
package service
