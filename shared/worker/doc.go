// Package worker is what the four stage services have in common. Open opens telemetry, model bundle, object store, cache
// and producer; Serve runs one stage on one topic, with health and metrics, until it has drained; Close closes everything
// in reverse order. A service adds its configuration and its handler.
//
// Promises: what was opened is closed, the last first, also when opening fails halfway. Each closing step has a few
// seconds, so that no step holds up the end of the process.
package worker
