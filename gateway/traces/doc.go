// Package traces keeps the latest traces in memory and shows them as a page, so that a trace can be looked at without a tracing
// backend. A Store takes the spans of its own process and, by OTLP over HTTP, the spans of other processes. Its memory is bounded.
package traces
