package projector

import (
	"testing"

	"github.com/larkstream/larkstream/engine/model/audiobundle/audiotest"
	"github.com/larkstream/larkstream/engine/tensor"
)

// Frames of the reference, rotated by their time, are the reference's.
func TestFramesAreRotatedAsTheReferenceDoesIt(t *testing.T) {
	t.Parallel()
	const family, width = "musicflamingo", 80
	m := audiotest.Load(t)
	r := newRotary(width)
	for _, clip := range audiotest.Clips {
		pooled, _ := audiotest.Array[float32](t, family, clip, "enc_pooled.npy")
		want, _ := audiotest.Array[float32](t, family, clip, "after_rote.npy")
		rows, _ := audiotest.Array[int32](t, family, clip, "enc_pooled.rows.npy")
		for i, at := range rows {
			// One frame at its place of a window, the frames before it zero.
			w, n := int(at)/750, int(at)%750
			e := tensor.Matrix{Rows: n + 1, Cols: width, Data: make([]float32, (n+1)*width)}
			copy(e.Data[n*width:], pooled[i*width:][:width])
			got := r.apply(e, w).Data[n*width:]
			for j := range got {
				if d := got[j] - want[i*width+j]; d > float32(m.Tolerances["after_rote"]) || -d > float32(m.Tolerances["after_rote"]) {
					t.Fatalf("%s, frame %d, value %d: %v, where %v is expected", clip, at, j, got[j], want[i*width+j])
				}
			}
		}
	}
}
