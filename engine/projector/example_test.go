package projector_test

import (
	"fmt"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/projector"
	"github.com/larkstream/larkstream/engine/tensor"
)

// An embedding becomes a soft prompt: each frame is brought to the decoder's width.
func ExampleOpen() {
	bundle, err := model.Load("../../models/lark-nano")
	if err != nil {
		fmt.Println(err)
		return
	}
	layer, err := projector.Open(bundle)
	if err != nil {
		fmt.Println(err)
		return
	}
	embedding := tensor.Matrix{Rows: 3, Cols: bundle.Encoder.Width, Data: make([]float32, 3*bundle.Encoder.Width)}
	soft, err := layer.Project(embedding)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(soft.Rows, "x", embedding.Cols, "became", soft.Rows, "x", soft.Cols)

	_, err = layer.Project(tensor.Matrix{Rows: 1, Cols: 1, Data: []float32{1}})
	fmt.Println(err)
	// Output:
	// 3 x 192 became 3 x 192
	// projecting 1 x 1: embedding of another width than the projector's input of 192
}
