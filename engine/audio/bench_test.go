package audio

import (
	"testing"
)

// BenchmarkDecode reports how many seconds of audio are decoded in one.
func BenchmarkDecode(b *testing.B) {
	minute := sine(60*SampleRate, 440, SampleRate, 0.5)
	for name, data := range map[string][]byte{
		"wav 44.1 kHz stereo":     buildWAV(wavSpec{tag: wavPCM, bits: 16, channels: 2, rate: SampleRate}, minute),
		"wav 48 kHz stereo":       buildWAV(wavSpec{tag: wavPCM, bits: 24, channels: 2, rate: 48000}, minute),
		"wav 192 kHz, 8 channels": buildWAV(wavSpec{tag: wavPCM, bits: 24, channels: 8, rate: 192000}, minute),
		"mp3":                     testdata(b, "tone.mp3"),
		"flac":                    toneFLAC(b, 10),
		"ogg":                     testdata(b, "tone.ogg"),
	} {
		b.Run(name, func(b *testing.B) {
			d := newTestDecoder(b)
			if name == "ogg" {
				needFFmpeg(b, d)
			}
			seconds := 0.0
			for b.Loop() {
				_, info, err := decodeBytes(b, d, data)
				if err != nil {
					b.Fatal(err)
				}
				seconds += info.Seconds()
			}
			b.ReportMetric(seconds/b.Elapsed().Seconds(), "x_real_time")
		})
	}
}

func BenchmarkDot(b *testing.B) {
	x, y := make([]float32, 140), make([]float32, 140)
	for b.Loop() {
		dot(x, y)
	}
}
