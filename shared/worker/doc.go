// Package worker is what the four stage services have in common. A service adds its configuration, a function on each type of message that
// it takes, and what opens its engine.
//
// Open opens telemetry, manifest of the model bundle, object store, cache and producer. Handle makes a stage's handler of a function on typed
// messages: it checks that the record is for this model, encodes what the function returns, and Step reports progress. Serve serves
// health and readiness, loads the model beside them, then runs the stage on its topic until it has drained. Close closes what Open opened.
//
// Promises: a service listens at once, whatever the size of its model; readiness tells how far loading is; no record is taken before the
// engine is there, and a model that cannot be loaded ends the service with an error. A record of another model is put back, never answered
// by this one. What was opened is closed, the last first, also when opening fails halfway. Each closing step has a few seconds, so
// that no step holds up the end of the process.
package worker
