// Package handle is the work of chunker-svc on one message: it turns a job into its windows, and cuts a window again whose audio has been
// evicted. The service wires it into shared/worker.
package handle
