// Package server is the gateway as one process: configuration, wiring and lifecycle of the HTTP API, the job store with its outbox, the
// recorder of outcomes, and the event streams. Command runs it from a command line, Run from a Config.
package server
