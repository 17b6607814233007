package chunkersvc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/services/chunker-svc/internal/handle"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/service"
	"github.com/larkstream/larkstream/shared/source"
	"github.com/larkstream/larkstream/shared/worker"
)

// Config is the user's configuration of chunker-svc.
type Config struct {
	service.Common `yaml:",inline"`
	Audio          audioConfig `yaml:"audio"`
	Job            jobConfig   `yaml:"job"`
	// Sources are the places where audio is read that is not stored.
	Sources []string `yaml:"sources" env:"LARK_SOURCES" help:"places that audio may be read from where it lies: /folder, s3://bucket/prefix?endpoint=…, gs://bucket/prefix, https://host/prefix (?private=true: also in our own network); separated by commas"`
	// Concurrency is how many tracks are decoded at once; 0 takes the number of processors, or fewer where the container's memory does not hold as many.
	Concurrency int `yaml:"concurrency" env:"LARK_CHUNKER_CONCURRENCY" flag:"concurrency" default:"0" help:"tracks decoded at once; 0: the number of processors, or what the memory of the container holds"`
	// Measure has each window measured by signal processing (tempo, key, metre), so that outcomes tell whether answers agree. It takes about 0.2 core-seconds a
	// window, once: repeated questions find what was measured.
	Measure bool `yaml:"measure" env:"LARK_CHUNKER_MEASURE" flag:"measure" default:"true" help:"measure tempo and key of each window, to check answers (0.2 core-seconds a window)"`
}

// audioConfig holds the limits of decoding. Memory for one track is at most 64 MiB whatever its length, and 192 MiB in ffmpeg.
type audioConfig struct {
	// MaxFileBytes is the size of the largest file.
	MaxFileBytes int64 `yaml:"max_file_bytes" env:"LARK_CHUNKER_MAX_FILE_BYTES" flag:"max-file-bytes" default:"1073741824" help:"largest audio file, in bytes"`
	// MaxDuration of a track.
	MaxDuration time.Duration `yaml:"max_duration" env:"LARK_CHUNKER_MAX_DURATION" flag:"max-duration" default:"2h" help:"longest track"`
	// MaxDecodedBytes bounds what a file may decode to, as 32-bit samples of all its channels.
	MaxDecodedBytes int64 `yaml:"max_decoded_bytes" env:"LARK_CHUNKER_MAX_DECODED_BYTES" flag:"max-decoded-bytes" default:"4294967296" help:"most bytes that a file may decode to (32-bit samples of all channels)"`
	// Timeout of decoding one track.
	Timeout time.Duration `yaml:"timeout" env:"LARK_CHUNKER_DECODE_TIMEOUT" flag:"decode-timeout" default:"5m" help:"longest time to decode a track"`
	// FFmpeg is the program that reads formats other than wav and flac. Mp3 is read without it, but some stereo a little wrong.
	FFmpeg string `yaml:"ffmpeg" env:"LARK_FFMPEG" flag:"ffmpeg" help:"path of ffmpeg; empty: looked up in PATH; none: do without"`
	// Scratch is the folder for temporary PCM, which takes 5.3 MB for each minute of the tracks in hand; empty is the system's folder.
	Scratch string `yaml:"scratch" env:"LARK_CHUNKER_SCRATCH" flag:"scratch" help:"folder for temporary files; empty: the system's"`
}

// jobConfig bounds what one job may ask of the stages behind.
type jobConfig struct {
	// MaxAnswers is the limit of windows times questions.
	MaxAnswers int `yaml:"max_answers" env:"LARK_CHUNKER_MAX_ANSWERS" flag:"max-answers" default:"4096" help:"answers that one job may ask for: windows times questions"`
	// MaxExpansion bounds the bytes of a job's windows by the bytes of its file. Speech at 6 kbit/s expands 118 times.
	MaxExpansion int64 `yaml:"max_expansion" env:"LARK_CHUNKER_MAX_EXPANSION" flag:"max-expansion" default:"256" help:"bytes of windows that a job may have for each byte of its file, beyond free_bytes"`
	// FreeBytes of windows are allowed to every job; three minutes take 16 MiB.
	FreeBytes int64 `yaml:"free_bytes" env:"LARK_CHUNKER_FREE_BYTES" flag:"free-bytes" default:"16777216" help:"bytes of windows that every job may have, however small its file"`
}

// drainTimeout is the time to finish work in hand after SIGTERM, of which decoding a long track may use three quarters. With less, each
// roll-out would do work twice. terminationGracePeriodSeconds in deployments/ is a little longer.
const drainTimeout = 2 * time.Minute

func newConfig() Config { return Config{Common: service.Common{DrainTimeout: drainTimeout}} }

// DefaultConfig is the configuration of an empty file and environment.
func DefaultConfig() (Config, error) {
	c := newConfig()
	return c, config.Defaults(&c)
}

// Validate reports every fault at once.
func (c *Config) Validate() error {
	faults := []error{worker.Validate(c.Common)}
	if c.Concurrency < 0 {
		faults = append(faults, fmt.Errorf("concurrency: %d is below 0", c.Concurrency))
	}
	a := c.Audio
	if a.MaxFileBytes <= 0 || a.MaxDuration <= 0 || a.MaxDecodedBytes <= 0 || a.Timeout <= 0 {
		faults = append(faults, errors.New("audio: max_file_bytes, max_duration, max_decoded_bytes and timeout must be above 0"))
	}
	if _, err := source.New(c.Sources); err != nil {
		faults = append(faults, err)
	}
	if j := c.Job; j.MaxAnswers <= 0 || j.MaxExpansion <= 0 || j.FreeBytes <= 0 {
		faults = append(faults, errors.New("job: max_answers, max_expansion and free_bytes must be above 0"))
	}
	return errors.Join(faults...)
}

func (j jobConfig) limits() handle.Limits {
	return handle.Limits{Answers: j.MaxAnswers, Expansion: j.MaxExpansion, FreeBytes: j.FreeBytes}
}

func (a audioConfig) decoder(ctx context.Context) (*audio.Decoder, error) {
	return audio.NewDecoder(ctx, audio.Config{
		Limits: audio.Limits{
			FileBytes: a.MaxFileBytes, Duration: a.MaxDuration, DecodedBytes: a.MaxDecodedBytes, Timeout: a.Timeout,
		},
		FFmpeg: a.FFmpeg, Scratch: a.Scratch,
	})
}
