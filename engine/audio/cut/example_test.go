package cut_test

import (
	"context"
	"fmt"
	"os"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/audio/cut"
	"github.com/larkstream/larkstream/engine/audio/plan"
)

// A track is cut into windows of 25 s. The last window ends with the track, so that all of the track is heard.
func ExampleCutter_CutFile() {
	decoder, err := audio.NewDecoder(context.Background(), audio.DefaultConfig())
	if err != nil {
		fmt.Println(err)
		return
	}
	cutter := cut.New(decoder, os.TempDir())
	rule := plan.NewRule(plan.All, nil, plan.Hearing{SpanS: 25, Rate: plan.SampleRate})
	_, err = cutter.CutFile(context.Background(), "../../../models/demo/larksong.mp3", rule, func(w cut.FileWindow) error {
		fmt.Printf("window %d: %.1f to %.1f s, %d samples\n", w.Index, w.StartS, w.EndS, len(w.PCM))
		return nil
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// window 0: 0.0 to 25.0 s, 1102500 samples
	// window 1: 25.0 to 50.0 s, 1102500 samples
	// window 2: 35.0 to 60.0 s, 1102500 samples
}
