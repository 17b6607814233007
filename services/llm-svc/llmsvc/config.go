package llmsvc

import (
	"errors"
	"log/slog"
	"time"

	"github.com/larkstream/larkstream/engine/decoder"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/service"
	"github.com/larkstream/larkstream/shared/worker"
)

// Config is the user's configuration of llm-svc.
type Config struct {
	service.Common `yaml:",inline"`
	// Engine is reference, nano, llamacpp, vllm or test; empty takes the engine that the bundle names.
	Engine string `yaml:"engine" env:"LARK_LLM_ENGINE" flag:"engine" help:"reference, nano (the same), llamacpp, vllm or test; empty: the bundle's"`
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
	// VLLMURL is the root of the vLLM server that the engine vllm asks, http or https; a load balancer may stand there.
	VLLMURL string `yaml:"vllm_url" env:"LARK_LLM_VLLM_URL" flag:"vllm-url" help:"engine vllm only: the server, such as http://gpu-1:8000"`
	// VLLMAPIKey is the server's --api-key; empty: none.
	VLLMAPIKey config.Secret `yaml:"vllm_api_key" env:"LARK_LLM_VLLM_API_KEY" flag:"vllm-api-key" help:"engine vllm only: the server's --api-key"`
	// VLLMModel is the model's name in the server; empty takes the bundle's name.
	VLLMModel string `yaml:"vllm_model" env:"LARK_LLM_VLLM_MODEL" flag:"vllm-model" help:"engine vllm only: --served-model-name; empty: the bundle's name"`
	// VLLMInFlight is how many answers are asked for at a time. Each takes twice the bytes of its prompt: 6 MB with 300 positions of 4096.
	VLLMInFlight int `yaml:"vllm_in_flight" env:"LARK_LLM_VLLM_IN_FLIGHT" flag:"vllm-in-flight" default:"32" help:"engine vllm only: answers asked for at a time"`
	// VLLMMaxWaiting is how many requests, from any client, may wait in the server before this service sends no more.
	VLLMMaxWaiting int `yaml:"vllm_max_waiting" env:"LARK_LLM_VLLM_MAX_WAITING" flag:"vllm-max-waiting" default:"8" help:"engine vllm only: requests waiting in the server from which on ours are held back"`
	// VLLMTimeout is the longest that one answer may take, with its retries.
	VLLMTimeout time.Duration `yaml:"vllm_timeout" env:"LARK_LLM_VLLM_TIMEOUT" flag:"vllm-timeout" default:"5m" help:"engine vllm only: the longest that one answer may take"`
	// AnswerCache keeps answers in the object store, so that a question that was decoded once is not decoded again.
	AnswerCache bool `yaml:"answer_cache" env:"LARK_LLM_ANSWER_CACHE" flag:"answer-cache" default:"true" help:"keep answers in the object store and repeat them, unless they were sampled without a seed"`
	// TestDelay is the time that the test engine takes for one question.
	TestDelay time.Duration `yaml:"test_delay" env:"LARK_LLM_TEST_DELAY" flag:"test-delay" default:"0s" help:"engine test only: time per question"`
}

// drainTimeout is the time to finish work in hand after SIGTERM, of which an answer may use three quarters: more than vllm_timeout. With less, each
// roll-out would do work twice. terminationGracePeriodSeconds in deployments/ is a little longer.
const drainTimeout = 7 * time.Minute

func newConfig() Config { return Config{Common: service.Common{DrainTimeout: drainTimeout}} }

// DefaultConfig is the configuration of an empty file and environment.
func DefaultConfig() (Config, error) {
	c := newConfig()
	return c, config.Defaults(&c)
}

// options are the decoder's choices.
func (c *Config) options(log *slog.Logger) decoder.Options {
	return decoder.Options{
		Engine: c.Engine, MaxBatch: c.MaxBatch, Positions: c.Positions, NativeDir: c.NativeDir, Device: c.Device, Threads: c.Threads,
		VLLM: decoder.VLLM{
			URL: c.VLLMURL, APIKey: c.VLLMAPIKey.Reveal(), Model: c.VLLMModel, InFlight: c.VLLMInFlight, MaxWaiting: c.VLLMMaxWaiting,
			Timeout: c.VLLMTimeout,
		},
		TestDelay: c.TestDelay, Log: log,
	}
}

// Validate reports every fault at once.
func (c *Config) Validate() error {
	faults := []error{worker.Validate(c.Common), c.options(nil).Validate()}
	if c.Concurrency < 1 || c.MaxBatch < 1 {
		faults = append(faults, errors.New("concurrency and max_batch must be above 0"))
	}
	return errors.Join(faults...)
}
