package projectorsvc

import (
	"errors"
	"fmt"

	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/service"
	"github.com/larkstream/larkstream/shared/worker"
)

// Config is the user's configuration of projector-svc.
type Config struct {
	service.Common `yaml:",inline"`
	// Concurrency is how many windows are projected at once; 0 takes twice the number of processors, since much of the
	// time goes into reading and writing.
	Concurrency int `yaml:"concurrency" env:"LARK_PROJECTOR_CONCURRENCY" flag:"concurrency" default:"0" help:"windows projected at once; 0: twice the number of processors"`
}

// DefaultConfig is the configuration of an empty file and environment.
func DefaultConfig() (Config, error) {
	var c Config
	return c, config.Defaults(&c)
}

// Validate reports every fault at once.
func (c *Config) Validate() error {
	faults := []error{worker.Validate(c.Common)}
	if c.Concurrency < 0 {
		faults = append(faults, fmt.Errorf("concurrency: %d is below 0", c.Concurrency))
	}
	return errors.Join(faults...)
}
