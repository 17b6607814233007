// Package handle is the work of encoder-svc on one message: it turns a window into an embedding. The service wires it into shared/worker.
package handle
