//go:build synctests

package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/larkstream/larkstream/gateway/server"
	"github.com/larkstream/larkstream/services/chunker-svc/chunkersvc"
	"github.com/larkstream/larkstream/services/encoder-svc/encodersvc"
	"github.com/larkstream/larkstream/services/llm-svc/llmsvc"
	"github.com/larkstream/larkstream/services/projector-svc/projectorsvc"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/host"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/kafka/simbroker"
	"github.com/larkstream/larkstream/shared/service"
)

// world is one simulated installation.
type world struct {
	seed    uint64
	faults  *faults
	history *history
	log     *slog.Logger
	dir     string   // scratch on the machine's disk
	models  []string // folders of bundles

	broker  *simbroker.Broker
	objects *blob.Store
	blind   bool        // see plan
	fed     bool        // some jobs are
	redis   *blob.Store // what Redis holds; nil where there is none
	slots   []*slot
	// supervisors are the goroutines that keep the slots filled, wait everything else that runs beside them.
	supervisors, wait sync.WaitGroup

	partitions  int32
	objectsDown atomic.Bool
	objectsSlow atomic.Bool
	redisDown   atomic.Bool
	// life ends early where processes die without end: what is to be seen has been seen.
	life         context.Context //nolint:containedctx // it is the world's
	giveUp       context.CancelFunc
	deaths       atomic.Int64
	databaseDown atomic.Pointer[error]
	outages      map[string]*atomic.Int64 // of what a stage needs, by stage
	ids          atomic.Int64
	ahead        atomic.Int64 // by how much a clock was ahead at most
	receiver     receiver
	held         sync.Map // plan -> since when it is refused
	answered     sync.Map // ids of jobs with an outcome
	strays       sync.Map // ids of outcomes that belong to no plan
	outbox       sync.Map // id of a row -> name of its record
	deadly       sync.Map // ids of jobs whose windows the encoder does not survive
}

func newWorld(seed uint64, p plan, s scratch, log *slog.Logger) (*world, error) {
	w := &world{
		seed: seed, faults: newFaults(dice(seed)), log: log, history: &history{start: time.Now()}, models: s.models, partitions: p.partitions, blind: p.blind, fed: slices.ContainsFunc(p.jobs, func(j job) bool { return j.fed }),
	}
	w.outages = make(map[string]*atomic.Int64)
	for _, stage := range event.WorkStages() {
		w.outages[stage] = new(atomic.Int64)
	}
	w.life, w.giveUp = context.WithCancel(context.Background())
	w.history.full = w.giveUp
	var err error
	if w.dir, err = os.MkdirTemp(s.dir, "seed-"); err != nil {
		return nil, fmt.Errorf("making a folder for a seed: %w", err)
	}
	if w.broker, err = simbroker.Start(w.history.commit); err != nil {
		return nil, err
	}
	if w.objects, err = blob.Open(context.Background(), "mem://"); err != nil {
		return nil, err
	}
	if p.redis {
		if w.redis, err = blob.Open(context.Background(), "mem://"); err != nil {
			return nil, err
		}
	}
	topics := event.Topics()
	for i := range topics {
		topics[i].Partitions = min(topics[i].Partitions, p.partitions)
	}
	return w, kafka.Provision(context.Background(), w.kafka("provision"), topics)
}

// kafka is the configuration of a client that no fault befalls.
func (w *world) kafka(id string) kafka.Config {
	return kafka.Config{Brokers: []string{w.broker.Addr()}, ClientID: id, Dial: w.broker.Dial}
}

// newID gives job ids that are the same in each run of the seed.
func (w *world) newID() string {
	return event.DerivedJobID("sim", strconv.FormatUint(w.seed, 10), strconv.FormatInt(w.ids.Add(1), 10))
}

// common are the settings of every service.
func (w *world) common(c *service.Common, model string) {
	c.KafkaBrokers, c.ModelDir, c.LogLevel, c.StateFile = []string{w.broker.Addr()}, model, "error", ""
	c.DrainTimeout, c.KafkaPartitions = 10*time.Second, int(w.partitions)
}

// stages are the ways to run the services on a model, by the name of their stage.
func (w *world) stages(model string) map[string]func(context.Context, host.Host) error {
	return map[string]func(context.Context, host.Host) error{
		event.StageChunker: func(ctx context.Context, on host.Host) error {
			c, err := chunkersvc.DefaultConfig()
			w.common(&c.Common, model)
			c.Concurrency, c.Audio.FFmpeg, c.Audio.Scratch = 2, "none", w.dir
			return errors.Join(err, chunkersvc.RunOn(ctx, on, c))
		},
		event.StageEncoder: func(ctx context.Context, on host.Host) error {
			c, err := encodersvc.DefaultConfig()
			w.common(&c.Common, model)
			c.Engine, c.Concurrency, c.TestDelay = "test", 2, 300*time.Millisecond
			return errors.Join(err, encodersvc.RunOn(ctx, on, c))
		},
		event.StageProjector: func(ctx context.Context, on host.Host) error {
			c, err := projectorsvc.DefaultConfig()
			w.common(&c.Common, model)
			c.Concurrency = 2
			return errors.Join(err, projectorsvc.RunOn(ctx, on, c))
		},
		event.StageLLM: func(ctx context.Context, on host.Host) error {
			c, err := llmsvc.DefaultConfig()
			w.common(&c.Common, model)
			c.Engine, c.Concurrency, c.TestDelay = "test", 2, 200*time.Millisecond
			return errors.Join(err, llmsvc.RunOn(ctx, on, c))
		},
	}
}

// gateway runs a gateway; all gateways share the database.
func (w *world) gateway(ctx context.Context, on host.Host) error {
	c, err := server.DefaultConfig()
	w.common(&c.Common, w.models[0])
	c.DatabaseURL = config.Secret("sqlite://" + filepath.Join(w.dir, "gateway.db"))
	c.SpoolDir, c.RecorderConcurrency = w.dir, 8
	c.Limits.UploadTimeout = 20 * time.Second // a key of a request that died with its gateway is blocked for as long
	// A small budget and no grace, so that each sweep would delete audio in use if it could.
	c.Sweep.Interval, c.Sweep.AudioBytes, c.Sweep.KeepYounger = 7*time.Second, 1, 10*time.Second
	return errors.Join(err, server.RunOn(ctx, on, c))
}

// open starts a slot for each service.
func (w *world) open(p plan) {
	for i := range p.gateways {
		w.add(fmt.Sprintf("gateway%d", i+1), event.StageRecorder, w.gateway)
	}
	for m, model := range w.models[:p.models] {
		run := w.stages(model)
		for _, stage := range event.WorkStages() {
			for i := range p.instances {
				w.add(fmt.Sprintf("%s%d", stage, m*p.instances+i+1), stage, run[stage])
			}
		}
	}
	for _, s := range w.slots {
		w.supervisors.Go(s.supervise)
	}
}

func (w *world) add(name, stage string, run func(context.Context, host.Host) error) {
	w.slots = append(w.slots, newSlot(w, name, stage, run))
}

// of are the slots of a stage; the gateways' is the recorder.
func (w *world) of(stage string) []*slot {
	var out []*slot
	for _, s := range w.slots {
		if s.stage == stage {
			out = append(out, s)
		}
	}
	return out
}

// afterlife is how long the goroutines of a process may go on when it has ended: a stage waits five seconds for its Kafka client to close, and the
// client may take longer.
const afterlife = time.Minute

// close stops everything in good order and waits for it.
func (w *world) close() error {
	w.giveUp()
	for _, s := range w.slots {
		close(s.quit)
	}
	w.supervisors.Wait()
	w.wait.Wait()
	w.broker.Close()
	err := errors.Join(w.objects.Close(), os.RemoveAll(w.dir))
	if w.redis != nil {
		err = errors.Join(err, w.redis.Close())
	}
	rest(context.Background(), afterlife) // by the virtual clock, which stands still once the simulation has ended
	return err
}
