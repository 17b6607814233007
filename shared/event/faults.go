package event

import "github.com/larkstream/larkstream/shared/event/eventpb"

// Warning is a fault of a file that was decoded nevertheless.
type Warning struct {
	Code    string  `json:"code" doc:"Kind of the fault" example:"truncated"`
	AtS     float64 `json:"at_s" doc:"Where it is met first, in seconds of the decoded track; 0 also for the whole track"`
	Message string  `json:"message"`
}

// Faults are what is wrong with a track that was decoded nevertheless.
type Faults struct {
	Warnings []Warning `json:"warnings,omitempty" doc:"Faults of the audio file, which is heard as far as it goes; left out = none"`
	MissingS float64   `json:"missing_s,omitempty" doc:"Seconds of sound that the file is known to lack"`
}

// FaultsOf reads the faults of a track.
func FaultsOf(t *eventpb.Track) Faults {
	f := Faults{MissingS: t.GetMissingS()}
	for _, w := range t.GetWarnings() {
		f.Warnings = append(f.Warnings, Warning{Code: w.GetCode(), AtS: w.GetAtS(), Message: w.GetMessage()})
	}
	return f
}
