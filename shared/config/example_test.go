package config_test

import (
	"errors"
	"fmt"

	"github.com/larkstream/larkstream/shared/config"
)

// The environment overrides the default, and a flag overrides the environment.
func ExampleLoad() {
	var cfg struct {
		Concurrency int    `yaml:"concurrency" default:"4" help:"handlers that run at once"`
		Engine      string `yaml:"engine" default:"nano" help:"what encodes"`
		Redis       struct {
			URL config.Secret `yaml:"url" help:"address of Redis"`
		} `yaml:"redis"`
	}
	environment := map[string]string{"LARK_CONCURRENCY": "8", "LARK_REDIS_URL": "redis://:password@cache"}
	options := config.Options{
		Name: "encoder", EnvPrefix: "LARK_", Args: []string{"--engine", "jukebox"},
		LookupEnv: func(name string) (string, bool) { v, ok := environment[name]; return v, ok },
	}
	err := config.Load(&cfg, options)
	fmt.Println(cfg.Concurrency, cfg.Engine, cfg.Redis.URL, err)

	options.Args = []string{"--concurrency", "many"}
	err = config.Load(&cfg, options)
	fmt.Println(err != nil && !errors.Is(err, config.ErrDone))
	// Output:
	// 8 jukebox [redacted] <nil>
	// true
}
