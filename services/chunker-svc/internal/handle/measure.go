package handle

import (
	"encoding/binary"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// maxMeasured is how many windows of a job are measured, those of three hours and a half in a row: a job that names thousands of windows must not keep a
// chunker busy for minutes.
const maxMeasured = 512

// measure measures a window's PCM under a span; nil where measuring is switched off.
func (h *Handler) measure(raw []byte) *eventpb.Measured {
	if h.Measure == nil {
		return nil
	}
	pcm := make([]int16, len(raw)/2)
	for i := range pcm {
		pcm[i] = int16(binary.LittleEndian.Uint16(raw[2*i:]))
	}
	m := h.Measure(audio.Resample(pcm, h.Bundle.Encoder.Rate(), audio.SampleRate)) // the rate that it is made for
	return &eventpb.Measured{
		TempoBpm: m.TempoBPM, TempoConfidence: m.TempoConfidence, Key: m.Key, KeyConfidence: m.KeyConfidence,
		Metre: m.Metre, MetreConfidence: m.MetreConfidence, Content: m.Content, ContentConfidence: m.ContentConfidence,
	}
}
