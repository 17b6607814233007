package handle

import (
	"github.com/larkstream/larkstream/engine/mir/check"
	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// crossCheck notes in an answered outcome whether the answer agrees with what the chunker measured in the window.
func crossCheck(o *eventpb.Outcome) {
	w := o.GetWindow().GetMeasured()
	if w == nil {
		return
	}
	m := check.Measured{
		TempoBPM: w.GetTempoBpm(), TempoConfidence: w.GetTempoConfidence(), Key: w.GetKey(), KeyConfidence: w.GetKeyConfidence(),
		Metre: w.GetMetre(), MetreConfidence: w.GetMetreConfidence(), Content: w.GetContent(), ContentConfidence: w.GetContentConfidence(),
	}
	if o.GetResponseSchema() != event.SchemaTags {
		if r, ok := check.Text(o.GetAnswer(), m); ok {
			o.Check = checkOf(r)
		}
		return
	}
	t, err := tags.Parse([]byte(o.GetAnswer()))
	if err != nil {
		return // unreachable: an answer that is no tags is a failed outcome
	}
	for _, f := range check.Tags(t, m) {
		if o.Support == nil {
			o.Support = map[string]*eventpb.Check{}
		}
		o.Support[f.Name] = checkOf(f.Result)
	}
}

func checkOf(r check.Result) *eventpb.Check {
	return &eventpb.Check{Agrees: r.Agrees, Measured: r.Measured, Confidence: r.Confidence}
}
