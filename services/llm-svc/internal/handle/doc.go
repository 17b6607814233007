// Package handle is the work of llm-svc on one message: it turns a window's soft prompt and questions into outcomes. The service wires it
// into shared/worker.
package handle
