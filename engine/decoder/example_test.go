package decoder_test

import (
	"context"
	"fmt"
	"os"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/audio/cut"
	"github.com/larkstream/larkstream/engine/audio/plan"
	"github.com/larkstream/larkstream/engine/decoder"
	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/projector"
	"github.com/larkstream/larkstream/engine/tensor"
)

// The whole way of a question without any service: file, window, embedding, soft prompt, answers.
func ExampleOpen() {
	ctx := context.Background()
	bundle, err := model.LoadComplete("../../models/lark-nano")
	if err != nil {
		fmt.Println(err)
		return
	}
	soft, err := softPrompt(ctx, bundle, "../../models/demo/larksong.mp3")
	if err != nil {
		fmt.Println(err)
		return
	}
	engine, err := decoder.Open(bundle, decoder.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = engine.Close() }()
	answers, err := engine.Answer(ctx, decoder.Request{Soft: soft, Questions: []decoder.Question{
		{Index: 0, Text: "What is the tempo?"},
		{Index: 1, Text: "What key is it in?"},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, a := range answers {
		fmt.Println(a.Index, a.Text)
	}
	// Output:
	// 0 The tempo is about 104 BPM.
	// 1 The key is G major.
}

// softPrompt is the soft prompt of the window that a job without a plan of its own asks about.
func softPrompt(ctx context.Context, bundle *model.Bundle, path string) (soft tensor.Matrix, err error) {
	files, err := audio.NewDecoder(ctx, audio.DefaultConfig())
	if err != nil {
		return soft, err
	}
	ears, err := encoder.Open(ctx, bundle, encoder.Options{})
	if err != nil {
		return soft, err
	}
	defer func() { _ = ears.Close() }()
	layer, err := projector.Open(bundle)
	if err != nil {
		return soft, err
	}
	rule := plan.NewRule(plan.Auto, nil, plan.HearingOf(bundle.Encoder))
	_, err = cut.New(files, os.TempDir()).CutFile(ctx, path, rule, func(w cut.FileWindow) error {
		embedding, err := ears.Encode(ctx, w.PCM)
		if err != nil {
			return err
		}
		soft, err = layer.Project(embedding)
		return err
	})
	return soft, err
}
