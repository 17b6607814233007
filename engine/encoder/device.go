package encoder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/larkstream/larkstream/engine/encoder/ggmljukebox"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/native"
	"github.com/larkstream/larkstream/engine/native/ggml"
)

// Names of devices, besides kinds of GPU.
const (
	// DeviceCPU is the processor with the kernels of this program.
	DeviceCPU = "cpu"
	// DeviceAuto is the first GPU, or DeviceCPU when there is none that can be used.
	DeviceAuto = "auto"
	// DeviceGGMLCPU is the processor with ggml's kernels, a cross-check of the graph that GPUs run.
	DeviceGGMLCPU = "ggml-cpu"
)

// deviceWindows is how many windows a device encodes at once by default.
const deviceWindows = 4

// gpuName is a kind of GPU, and which of several.
var gpuName = regexp.MustCompile(`^(cuda|vulkan|metal)(?::([0-9]{1,2}))?$`)

func validDevice(name string) bool {
	return name == "" || name == DeviceCPU || name == DeviceAuto || name == DeviceGGMLCPU || gpuName.MatchString(name)
}

// Device says what runs the prior of a Jukebox encoder, or an encoder of Whisper's kind.
type Device struct {
	// Name is cpu (also when empty), a GPU as cuda, vulkan or metal (cuda:1 is the second), auto for the first GPU with cpu where there
	// is none, or ggml-cpu. All but cpu need ggml's libraries, see docs/gpu.md.
	Name string
	// NativeDir is the folder of ggml's libraries; empty takes native/cuda (or as the device is called) beside the program, else native/cpu.
	NativeDir string
	// Log takes what the libraries report and which device is used. OpenJukeboxOn needs it for every device but DeviceCPU.
	Log *slog.Logger
	// Progress is called with the blocks whose weights are on the device. It may be nil.
	Progress func(done, total int)
}

// onProcessor tells whether the processor runs the encoder, with our kernels or ggml's.
func (d Device) onProcessor() bool { return d.processor() || d.Name == DeviceGGMLCPU }

func (d Device) processor() bool { return d.Name == "" || d.Name == DeviceCPU }

// find opens ggml's libraries and finds the device.
func (d Device) find() (*ggml.Library, ggml.Device, error) {
	l, err := ggml.Open(d.libraries(), d.Log)
	if err != nil {
		return nil, ggml.Device{}, fmt.Errorf("opening device %s: %w", d.Name, err)
	}
	devices := l.Devices()
	var names []string
	for _, candidate := range devices {
		if matches(d.Name, candidate) {
			return l, candidate, nil
		}
		names = append(names, fmt.Sprintf("%s (%s)", candidate.Name, candidate.Description))
	}
	return nil, ggml.Device{}, fmt.Errorf("opening device %s: the libraries in %s find only %s; see docs/gpu.md%s", d.Name, l.Native().Dir,
		strings.Join(names, ", "), because(l.Native().Problems))
}

// libraries is the folder to load: the named folder, else the device's folder beside the processors' folder, else empty for the processors' folder.
func (d Device) libraries() string {
	beside, err := native.Dir("")
	if d.NativeDir != "" || err != nil {
		return d.NativeDir
	}
	return variantFor(d.Name, filepath.Dir(beside))
}

// variantFor is the first folder in beside of libraries for a device, empty if there is none.
func variantFor(device, beside string) string {
	kind, _, _ := strings.Cut(device, ":")
	for _, variant := range []string{"cuda", "cuda12", "metal", "vulkan"} {
		path := filepath.Join(beside, variant)
		if _, err := os.Stat(path); err == nil && (device == DeviceAuto || strings.HasPrefix(variant, kind)) {
			return path
		}
	}
	return ""
}

func because(problems []string) string {
	if len(problems) == 0 {
		return ""
	}
	return ": " + strings.Join(problems, "; ")
}

// matches tells whether a valid device name stands for ggml's device d. ggml numbers the devices of a kind: CUDA0, Vulkan1, MTL0.
func matches(name string, d ggml.Device) bool {
	switch name {
	case DeviceAuto:
		return d.Kind == ggml.GPU || d.Kind == ggml.Integrated
	case DeviceGGMLCPU:
		return d.Kind == ggml.CPU
	}
	parts := gpuName.FindStringSubmatch(name)
	if parts == nil {
		return false
	}
	kind := map[string]string{"cuda": "CUDA", "vulkan": "Vulkan", "metal": "MTL"}[parts[1]]
	index, err := strconv.Atoi("0" + parts[2])
	return err == nil && d.Name == kind+strconv.Itoa(index)
}

// OpenJukeboxOn is OpenJukebox on a device. Its weights are uploaded before it returns, which ends with ctx.
func OpenJukeboxOn(ctx context.Context, b *model.Bundle, o JukeboxOptions, d Device) (*JukeboxEncoder, error) {
	if !validDevice(d.Name) {
		return nil, fmt.Errorf("opening device: %q is not %s", d.Name, deviceNames)
	}
	if d.processor() {
		return OpenJukebox(b, o)
	}
	l, device, err := d.find()
	if err != nil {
		return nil, err
	}
	free, total := device.Memory()
	d.Log.Info("encoder runs on a device", "device", device.Name, "description", device.Description, "free_bytes", free, "total_bytes", total)
	o.CodesOnly = true
	j, err := OpenJukebox(b, o)
	if err != nil {
		return nil, err
	}
	e, err := ggmljukebox.New(ctx, j.encoder, l, device, ggmljukebox.Options{Windows: o.Windows, Progress: d.Progress})
	if err != nil {
		return nil, errors.Join(err, j.weights.Close())
	}
	if e.Windows() < o.Windows {
		d.Log.Warn("the device has room for fewer windows at once", "windows", e.Windows(), "concurrency", o.Windows)
	}
	j.frames, j.stop = e.Encode, e.Close
	return j, nil
}

const deviceNames = "cpu, auto, cuda, vulkan, metal (with :1 behind it the second) or ggml-cpu"
