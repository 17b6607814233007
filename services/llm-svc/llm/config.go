// Package llm is the facade of llm-svc: it answers questions about windows from their soft prompts.
package llm

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/larkstream/larkstream/services/llm-svc/internal/llamacpp"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/model"
	"github.com/larkstream/larkstream/shared/service"
)

// Engines that Config.Engine may name.
const (
	// EngineReference is the Llama forward pass in plain Go. EngineNano is the name by which lark-nano asks for it.
	EngineReference = "reference"
	EngineNano      = "nano"
	// EngineLlamaCPP is llama.cpp's libraries on a GGUF.
	EngineLlamaCPP = model.LlamaCPP
	// EngineTest answers without a model, for tests of everything around it.
	EngineTest = "test"
)

// Config is the user's configuration of llm-svc.
type Config struct {
	service.Common `yaml:",inline"`
	// Engine is reference, nano, llamacpp or test; empty takes what the bundle names.
	Engine string `yaml:"engine" env:"LARK_LLM_ENGINE" flag:"engine" help:"reference, nano (the same), llamacpp or test; empty: the bundle's"`
	// Concurrency is how many windows are worked on at once.
	Concurrency int `yaml:"concurrency" env:"LARK_LLM_CONCURRENCY" flag:"concurrency" default:"8" help:"windows worked on at once"`
	// MaxBatch is how many answers advance together in one step.
	MaxBatch int `yaml:"max_batch" env:"LARK_LLM_MAX_BATCH" flag:"max-batch" default:"16" help:"answers decoded in one step"`
	// Positions is the budget of attention keys and values in memory, in positions; 0 takes 16 of the model's contexts, and 4
	// with engine llamacpp.
	Positions int `yaml:"positions" env:"LARK_LLM_POSITIONS" flag:"positions" default:"0" help:"budget of keys and values, in positions; 0: 16 contexts, llamacpp: 4"`
	// NativeDir is the folder of llama.cpp's libraries; empty: native/cpu beside the program.
	NativeDir string `yaml:"native_dir" env:"LARK_NATIVE_DIR" flag:"native-dir" help:"engine llamacpp only: folder of llama.cpp's libraries; empty: native/cpu beside the program"`
	// Device is auto, which uses the devices that the libraries find, or cpu.
	Device string `yaml:"device" env:"LARK_LLM_DEVICE" flag:"device" default:"auto" help:"engine llamacpp only: auto (the devices that the libraries find) or cpu"`
	// Threads on the processor; 0: as many as there are processors.
	Threads int `yaml:"threads" env:"LARK_LLM_THREADS" flag:"threads" default:"0" help:"engine llamacpp only: threads on the processor; 0: all"`
	// TestDelay is the time that the test engine takes for one question.
	TestDelay time.Duration `yaml:"test_delay" env:"LARK_LLM_TEST_DELAY" flag:"test-delay" default:"0s" help:"engine test only: time per question"`
}

// DefaultConfig is the configuration of an empty file and environment.
func DefaultConfig() (Config, error) {
	var c Config
	return c, config.Defaults(&c)
}

// Validate reports every fault at once.
func (c *Config) Validate() error {
	faults := []error{c.Common.Validate()}
	if !slices.Contains([]string{"", EngineReference, EngineNano, EngineLlamaCPP, EngineTest}, c.Engine) {
		faults = append(faults, fmt.Errorf("engine: %q is not reference, nano, llamacpp or test", c.Engine))
	}
	if !slices.Contains([]string{llamacpp.DeviceAuto, llamacpp.DeviceCPU}, c.Device) || c.Threads < 0 {
		faults = append(faults, errors.New("device must be auto or cpu, threads not below 0"))
	}
	if c.Concurrency < 1 || c.MaxBatch < 1 || c.Positions < 0 {
		faults = append(faults, errors.New("concurrency and max_batch must be above 0, positions not below 0"))
	}
	if c.TestDelay < 0 {
		faults = append(faults, errors.New("test_delay must not be below 0"))
	}
	return errors.Join(faults...)
}
