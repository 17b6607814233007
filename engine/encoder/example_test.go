package encoder_test

import (
	"context"
	"fmt"
	"math"

	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/model"
)

// A window of audio becomes an embedding: one row of values for each frame.
func ExampleOpen() {
	ctx := context.Background()
	bundle, err := model.Load("../../models/lark-nano") // which compares every file with its digest
	if err != nil {
		fmt.Println(err)
		return
	}
	engine, err := encoder.Open(ctx, bundle, encoder.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = engine.Close() }()
	pcm := make([]int16, 2*44100) // two seconds of a tone of 440 Hz
	for i := range pcm {
		pcm[i] = int16(8000 * math.Sin(2*math.Pi*440*float64(i)/44100))
	}
	embedding, err := engine.Encode(ctx, pcm)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(embedding.Rows, "frames of", embedding.Cols, "values")
	// Output: 21 frames of 192 values
}
