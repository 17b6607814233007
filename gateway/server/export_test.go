package server

// Recording is how the recorder of a gateway reads.
var Recording = recording
