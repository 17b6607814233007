package encoder

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/encoder/jukebox/jukeboxtest"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/native/ggml"
	"github.com/larkstream/larkstream/engine/native/nativetest"
)

func TestDeviceNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "cpu", "auto", "ggml-cpu", "cuda", "cuda:1", "vulkan:0", "metal", "vulkan:12"} {
		require.True(t, validDevice(name), name)
	}
	for _, name := range []string{"gpu", "cuda1", "cuda:", "cuda:x", "metal:100", "CUDA", "auto:1", " cpu", "ggml-cpu:1"} {
		require.False(t, validDevice(name), name)
	}
	cuda, igpu, cpu := ggml.Device{Name: "CUDA1", Kind: ggml.GPU}, ggml.Device{Name: "Vulkan0", Kind: ggml.Integrated}, ggml.Device{Name: "CPU", Kind: ggml.CPU}
	for name, want := range map[string][]bool{
		"cuda": {false, false, false}, "cuda:1": {true, false, false}, "vulkan": {false, true, false}, "vulkan:1": {false, false, false},
		"auto": {true, true, false}, "ggml-cpu": {false, false, true}, "metal": {false, false, false},
	} {
		require.Equal(t, want, []bool{matches(name, cuda), matches(name, igpu), matches(name, cpu)}, name)
	}
}

// The same bundle gives the same frames with ggml's kernels as with ours.
func TestADeviceGivesTheProcessorsFrames(t *testing.T) {
	t.Parallel()
	dir, o := jukeboxtest.Bundle(t), Options{Device: Device{Name: DeviceGGMLCPU, NativeDir: nativetest.Dir(t)}}
	e, err := openDir(t, dir, o)
	require.NoError(t, err)
	got, err := e.Encode(t.Context(), tone(9000))
	require.NoError(t, err)
	_, err = e.Encode(t.Context(), tone(4351))
	require.ErrorIs(t, err, ErrTooShort)
	require.NoError(t, e.Close())

	o.Device.Name = DeviceCPU
	reference, err := openDir(t, dir, o)
	require.NoError(t, err)
	want, err := reference.Encode(t.Context(), tone(9000))
	require.NoError(t, err)
	require.NoError(t, reference.Close())
	require.Equal(t, want.Rows, got.Rows)
	require.InDeltaSlice(t, want.Data, got.Data, 2e-5)
}

// A device that is named must be there; auto takes the processor where there is no other, and says why.
func TestWhatIsDoneWithoutTheDevice(t *testing.T) {
	t.Parallel()
	b, err := model.Load(jukeboxtest.Bundle(t))
	require.NoError(t, err)
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	dir := nativetest.Dir(t)

	o := Options{Device: Device{Name: "cuda:7", NativeDir: dir, Log: log}}
	_, err = Open(t.Context(), b, o)
	require.ErrorContains(t, err, "opening device cuda:7: the libraries in")
	require.ErrorContains(t, err, "find only")
	require.ErrorContains(t, err, "CPU (")
	require.ErrorContains(t, err, "docs/gpu.md")

	o.Device.NativeDir = t.TempDir()
	_, err = Open(t.Context(), b, o)
	require.Error(t, err, "another folder than the loaded one, or an empty one")

	o.Device.Name = DeviceAuto
	e, err := Open(t.Context(), b, o)
	require.NoError(t, err)
	require.Contains(t, text.String(), "no GPU can be used, the encoder runs on the processor")
	_, err = e.Encode(t.Context(), tone(5000))
	require.NoError(t, err)
	require.NoError(t, e.Close())

	_, err = OpenJukeboxOn(t.Context(), b, JukeboxOptions{}, Device{Name: "tpu"})
	require.ErrorContains(t, err, `"tpu" is not cpu, auto, cuda`)
	_, err = openDir(t, nanoBundle, Options{Device: Device{Name: "vulkan"}})
	require.ErrorContains(t, err, "engine nano runs on the processor, not on device vulkan")
}

func TestFolderOfADevicesLibraries(t *testing.T) {
	t.Parallel()
	beside := t.TempDir()
	for _, variant := range []string{"cpu", "cuda12", "vulkan"} {
		require.NoError(t, os.Mkdir(filepath.Join(beside, variant), 0o750))
	}
	for device, want := range map[string]string{
		"cuda": "cuda12", "cuda:3": "cuda12", "vulkan": "vulkan", "auto": "cuda12", "metal": "", "ggml-cpu": "", "metal:1": "",
	} {
		if want != "" {
			want = filepath.Join(beside, want)
		}
		require.Equal(t, want, variantFor(device, beside), device)
	}
}
