package audio_test

import (
	"context"
	"fmt"

	"github.com/larkstream/larkstream/engine/audio"
)

// A whole track becomes 44.1 kHz mono PCM, whatever its format.
func ExampleDecoder_DecodeFile() {
	decoder, err := audio.NewDecoder(context.Background(), audio.DefaultConfig())
	if err != nil {
		fmt.Println(err)
		return
	}
	pcm, err := decoder.DecodeFile(context.Background(), "../../models/demo/larksong.mp3")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%.1f s\n", float64(len(pcm))/audio.SampleRate)

	// A fault of the file has a code; any other error is worth another try.
	_, err = decoder.DecodeFile(context.Background(), "../../models/demo/larksong.json")
	fmt.Println(audio.CodeOf(err))
	// Output:
	// 60.0 s
	// undecodable
}
