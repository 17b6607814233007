// Package stagetest runs a stage's service in a test: through its own command, on the embedded broker, with a folder of
// objects. The tests of the four stage services use it.
package stagetest
