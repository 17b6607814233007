// Package broker is the child process that serves the Kafka protocol on one machine, with its records in a folder.
package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/service"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// name is the service's name in logs and answers.
const name = "broker"

// eventBytes bounds a partition of the events: the broker has an index of all records in memory, and a day of a large run is millions of events.
const eventBytes = 16 << 20

// flushTimeout bounds the end of telemetry.
const flushTimeout = 5 * time.Second

// Config is the user's configuration of the broker.
type Config struct {
	service.Common `yaml:",inline"`
	// Addr is where clients connect.
	Addr string `yaml:"addr" env:"LARK_BROKER_ADDR" flag:"addr" default:"127.0.0.1:9092" help:"address of the Kafka protocol"`
	// Dir holds the records.
	Dir string `yaml:"dir" env:"LARK_BROKER_DIR" flag:"dir" default:"data/broker" help:"folder of the records"`
	// Sync writes every batch through to the disk.
	Sync bool `yaml:"sync" env:"LARK_BROKER_SYNC" flag:"sync" help:"write every batch through to the disk: survives a crash of the machine, costs milliseconds a record"`
}

// Validate reports every fault at once.
func (c *Config) Validate() error {
	faults := []error{c.Common.Validate()}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		faults = append(faults, fmt.Errorf("addr: %w", err))
	}
	if c.Dir == "" {
		faults = append(faults, errors.New("dir: is empty"))
	}
	return errors.Join(faults...)
}

// Command parses args and the environment and runs the broker until ctx ends.
func Command(ctx context.Context, args []string) error {
	var cfg Config
	err := config.Load(&cfg, config.Options{
		Name: "lark serve broker", Summary: "serves the Kafka protocol from a folder, for one machine", EnvPrefix: "LARK_BROKER_", Args: args,
		Examples: []string{"lark serve broker --addr 127.0.0.1:9092 --dir data/broker"},
	})
	if err != nil {
		return err
	}
	return Run(ctx, cfg)
}

// errStarting is the readiness of a broker whose topics are not made yet.
var errStarting = errors.New("topics are not provisioned yet")

// Run serves until ctx ends.
func Run(ctx context.Context, cfg Config) (err error) {
	tel, stop, err := telemetry.Start(ctx, cfg.Telemetry(name))
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		defer cancel()
		err = errors.Join(err, stop(ctx))
	}()
	b, err := kafka.StartBroker(kafka.BrokerConfig{Dir: cfg.Dir, Addr: cfg.Addr, Sync: cfg.Sync, Log: tel.Log}) //nolint:contextcheck // it ends with Close
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	var ready atomic.Bool
	run := func(ctx context.Context) error {
		if err := kafka.Provision(ctx, kafka.Config{Brokers: []string{b.Addr()}, ClientID: name}, event.WithEventBytes(event.Topics(), eventBytes)); err != nil {
			return err
		}
		ready.Store(true)
		<-ctx.Done()
		return nil
	}
	return service.Run(ctx, cfg.Common, name, service.Version(), tel, tel.Log, service.Part{Name: name, Run: run, Ready: func() error {
		if !ready.Load() {
			return errStarting
		}
		return nil
	}})
}
