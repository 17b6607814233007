package encodersvc

import (
	"errors"
	"log/slog"
	"time"

	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/service"
	"github.com/larkstream/larkstream/shared/worker"
)

// Config is the user's configuration of encoder-svc.
type Config struct {
	service.Common `yaml:",inline"`
	// Engine is nano, jukebox, whisper or test; empty takes the engine that the bundle names.
	Engine string `yaml:"engine" env:"LARK_ENCODER_ENGINE" flag:"engine" help:"nano, jukebox, whisper or test; empty: the bundle's"`
	// Concurrency is how many windows are encoded at once. 0 takes the number of processors; for jukebox it takes 1, because one window keeps
	// all processors busy and needs 0.4 GB; for jukebox on a GPU it takes 4, because windows that wait run together there.
	Concurrency int `yaml:"concurrency" env:"LARK_ENCODER_CONCURRENCY" flag:"concurrency" default:"0" help:"windows encoded at once; 0: the number of processors, 1 for jukebox, 4 for jukebox on a GPU"`
	// Device runs jukebox's prior: cpu; a GPU as cuda, vulkan or metal (cuda:1 is the second); auto for the first GPU, or cpu where there is no
	// GPU; or ggml-cpu. Every device but cpu needs ggml's libraries, see docs/gpu.md. A device that cannot be used stops the service; auto
	// falls back to cpu.
	Device string `yaml:"device" env:"LARK_ENCODER_DEVICE" flag:"device" default:"cpu" help:"jukebox only: cpu, auto, cuda, vulkan, metal (cuda:1: the second) or ggml-cpu"`
	// NativeDir is the folder of ggml's libraries; empty takes the folder named after the device beside
	// the program, such as native/cuda, or native/cpu if there is no such folder.
	NativeDir string `yaml:"native_dir" env:"LARK_NATIVE_DIR" flag:"native-dir" help:"folder of the libraries of llama.cpp and ggml; empty: native/ beside the program"`
	// TestDelay is the time that the test engine takes for one window.
	TestDelay time.Duration `yaml:"test_delay" env:"LARK_ENCODER_TEST_DELAY" flag:"test-delay" default:"0s" help:"engine test only: time per window"`
}

// drainTimeout is the time to finish work in hand after SIGTERM, of which a window of a large encoder on a processor may use three quarters. With less, each
// roll-out would do work twice. terminationGracePeriodSeconds in deployments/ is a little longer.
const drainTimeout = 10 * time.Minute

func newConfig() Config { return Config{Common: service.Common{DrainTimeout: drainTimeout}} }

// DefaultConfig is the configuration of an empty file and environment.
func DefaultConfig() (Config, error) {
	c := newConfig()
	return c, config.Defaults(&c)
}

// Validate reports every fault at once.
func (c *Config) Validate() error {
	return errors.Join(worker.Validate(c.Common), c.options(nil).Validate())
}

// options are the encoder's choices.
func (c *Config) options(log *slog.Logger) encoder.Options {
	return encoder.Options{
		Engine: c.Engine, Concurrency: c.Concurrency, TestDelay: c.TestDelay,
		Device: encoder.Device{Name: c.Device, NativeDir: c.NativeDir, Log: log},
	}
}
