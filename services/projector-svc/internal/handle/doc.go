// Package handle is the work of projector-svc on one message: it turns an embedding into a soft prompt. The service wires it into
// shared/worker.
package handle
