package encodersvc

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/native/ggml"
	"github.com/larkstream/larkstream/engine/native/nativetest"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage/stagetest"
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
	cfg := Config{Common: commonOf(jukeboxBundle(t)), Device: DeviceGGMLCPU, NativeDir: nativetest.Dir(t)}
	e, err := OpenEngine(t.Context(), cfg)
	require.NoError(t, err)
	got, err := e.Encode(t.Context(), tone(9000))
	require.NoError(t, err)
	_, err = e.Encode(t.Context(), tone(4351))
	require.ErrorIs(t, err, ErrTooShort)
	require.NoError(t, e.Close())

	cfg.Device = DeviceCPU
	reference, err := OpenEngine(t.Context(), cfg)
	require.NoError(t, err)
	want, err := reference.Encode(t.Context(), tone(9000))
	require.NoError(t, err)
	require.NoError(t, reference.Close())
	require.Equal(t, want.Rows, got.Rows)
	require.InDeltaSlice(t, want.Data, got.Data, 2e-5)
}

func TestJukeboxServiceOnADevice(t *testing.T) { //nolint:paralleltest // telemetry is global
	rig := stagetest.New(t)
	svc := rig.Start(t, Command, jukeboxBundle(t), "--device", "ggml-cpu", "--native-dir", nativetest.Dir(t), "--concurrency", "2")
	for i := range 3 {
		rig.Publish(t, window(t, rig, "job", i))
	}
	for _, m := range stagetest.Of[*eventpb.EmbeddingReady](t, rig.Await(t, event.TopicEmbeddings, 3)) {
		require.Equal(t, uint32(10), m.GetFrames())
	}
	require.NoError(t, svc.Stop())
}

// A device that is named must be there; auto takes the processor where there is no other, and says why.
func TestWhatIsDoneWithoutTheDevice(t *testing.T) {
	t.Parallel()
	b, err := model.Load(jukeboxBundle(t))
	require.NoError(t, err)
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	dir := nativetest.Dir(t)

	cfg := Config{Device: "cuda:7", NativeDir: dir}
	_, err = cfg.open(t.Context(), b, Device{Log: log})
	require.ErrorContains(t, err, "opening device cuda:7: the libraries in")
	require.ErrorContains(t, err, "find only")
	require.ErrorContains(t, err, "CPU (")
	require.ErrorContains(t, err, "docs/gpu.md")

	cfg.NativeDir = t.TempDir()
	_, err = cfg.open(t.Context(), b, Device{Log: log})
	require.Error(t, err, "another folder than the loaded one, or an empty one")

	cfg.Device = DeviceAuto
	e, err := cfg.open(t.Context(), b, Device{Log: log})
	require.NoError(t, err)
	require.Contains(t, text.String(), "no GPU can be used, the encoder runs on the processor")
	_, err = e.Encode(t.Context(), tone(5000))
	require.NoError(t, err)
	require.NoError(t, e.Close())

	_, err = OpenJukeboxOn(t.Context(), b, JukeboxOptions{}, Device{Name: "tpu"})
	require.ErrorContains(t, err, `"tpu" is not cpu, auto, cuda`)
	cfg = Config{Common: commonOf(nanoBundle), Device: "vulkan"}
	_, err = OpenEngine(t.Context(), cfg)
	require.ErrorContains(t, err, "engine nano runs on the processor, not on device vulkan")
}

func TestLoadingTellsWhatIsOnTheDevice(t *testing.T) {
	t.Parallel()
	b, err := model.Read(jukeboxBundle(t))
	require.NoError(t, err)
	l := newLoading(&Config{Device: DeviceGGMLCPU, NativeDir: nativetest.Dir(t)}, b, slog.New(slog.DiscardHandler))
	l.uploaded.Store(30)
	require.ErrorContains(t, l.Ready(), "30 % of it are on the device")
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- l.Run(ctx) }()
	<-l.opened
	require.Equal(t, int64(100), l.uploaded.Load())
	cancel()
	require.NoError(t, <-ran)
	require.NoError(t, l.Close())
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
