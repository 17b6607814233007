package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/pgtest"
)

// The databases on which RunGateway measures.
const (
	SQLite     = "sqlite"
	PostgreSQL = "postgres"
)

// GatewayConfig says how jobs are submitted.
type GatewayConfig struct {
	// Jobs are submitted by Clients at once, each of which sends its next job when the last one is accepted; in each of Rounds rounds.
	Jobs, Clients, Rounds int
	// Streams are opened at once after the jobs of a round; 0 = none.
	Streams int
	// Databases to measure: SQLite, PostgreSQL or both. The PostgreSQL server is started for the measurement and flushes what it commits.
	Databases []string
	// Start starts a broker and a gateway on an empty data folder; env is added to their environment.
	Start func(ctx context.Context, dataDir string, env []string) (Stack, error)
	// Scratch is a folder for data folders; they are removed.
	Scratch string
	// Progress is told what is being measured.
	Progress func(what string)
}

// warmUp is how many jobs each client submits before the measurement: connections are open then, and statements prepared.
const warmUp = 10

// RunGateway measures how many submissions by reference a gateway accepts in a second, and how long each of them takes. Every accepted job is in
// the database, flushed, and on its way to Kafka. No stage works on the jobs.
func RunGateway(ctx context.Context, cfg GatewayConfig) (_ GatewayReport, err error) {
	dir, err := os.MkdirTemp(cfg.Scratch, "lark-bench-")
	if err != nil {
		return GatewayReport{}, fmt.Errorf("making a scratch folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r := newGatewayReport(cfg)
	for round := range cfg.Rounds {
		for _, database := range cfg.Databases {
			cfg.Progress(fmt.Sprintf("round %d of %d: %d jobs with %s", round+1, cfg.Rounds, cfg.Jobs, database))
			data := filepath.Join(dir, fmt.Sprint(database, round))
			got, err := cfg.round(ctx, database, data)
			if err != nil {
				return GatewayReport{}, fmt.Errorf("measuring the gateway with %s: %w", database, err)
			}
			r.Rounds = append(r.Rounds, got)
			if err := os.RemoveAll(data); err != nil {
				return GatewayReport{}, fmt.Errorf("removing the data of a round: %w", err)
			}
		}
	}
	return r, nil
}

// round measures on an empty database and an empty broker.
func (cfg *GatewayConfig) round(ctx context.Context, database, data string) (_ GatewayRound, err error) {
	url := "sqlite://" + filepath.Join(data, "lark.db")
	if database == PostgreSQL {
		server, err := pgtest.Start(ctx, pgtest.Config{Durable: true})
		if err != nil {
			return GatewayRound{}, err
		}
		defer func() { err = errors.Join(err, server.Close()) }()
		if url, err = server.NewDatabase(ctx); err != nil {
			return GatewayRound{}, err
		}
	}
	stack, err := cfg.Start(ctx, data, cfg.environment(url))
	if err != nil {
		return GatewayRound{}, err
	}
	defer stack.Stop(context.WithoutCancel(ctx))
	transport := &http.Transport{MaxIdleConnsPerHost: cfg.Clients}
	defer transport.CloseIdleConnections()
	gw, err := client.New(stack.GatewayURL(), &http.Client{Transport: transport})
	if err != nil {
		return GatewayRound{}, err
	}
	track, err := gw.Submit(ctx, client.Submission{Questions: Questions()[:1]}, &client.Upload{Name: "tone.wav", Reader: bytes.NewReader(tone(0, 2))}, client.SubmitOptions{})
	if err != nil {
		return GatewayRound{}, err
	}
	if _, err := cfg.submit(ctx, gw, track.Audio.SHA256, warmUp*cfg.Clients); err != nil {
		return GatewayRound{}, err
	}
	r, err := cfg.measure(ctx, database, stack, gw, track.Audio.SHA256)
	if err != nil || cfg.Streams == 0 {
		return r, err
	}
	cfg.Progress(fmt.Sprintf("%d event streams with %s", cfg.Streams, database))
	streams, err := cfg.streams(ctx, stack, gw, track.Audio.SHA256)
	r.Streams = &streams
	return r, err
}

// environment lets every job through: the measurement ends where the machine does, not at a limit.
func (cfg *GatewayConfig) environment(database string) []string {
	env := []string{"DATABASE_URL=" + database, "LARK_GATEWAY_LIMITS_MAX_OPEN_JOBS=100000000", "LARK_GATEWAY_LIMITS_INTERACTIVE_WINDOWS=1000000000"}
	for _, limit := range []string{"MAX_UPLOADS", "MAX_UPLOADS_PER_CLIENT"} {
		env = append(env, "LARK_GATEWAY_LIMITS_"+limit+"="+strconv.Itoa(cfg.Clients))
	}
	for _, limit := range []string{"GATEWAY_LIMITS_MAX_STREAMS", "GATEWAY_LIMITS_MAX_STREAMS_PER_CLIENT", "HTTP_CONNECTIONS", "HTTP_CONNECTIONS_PER_CLIENT"} {
		env = append(env, "LARK_"+limit+"="+strconv.Itoa(cfg.Streams+4*cfg.Clients))
	}
	return env
}

func (cfg *GatewayConfig) measure(ctx context.Context, database string, stack Stack, gw *client.Client, ref string) (GatewayRound, error) {
	worked := stackProcessor(stack)
	own, err := processorSeconds()
	if err != nil {
		return GatewayRound{}, err
	}
	began := time.Now()
	waits, err := cfg.submit(ctx, gw, ref, cfg.Jobs)
	if err != nil {
		return GatewayRound{}, err
	}
	seconds := time.Since(began).Seconds()
	ownAfter, err := processorSeconds()
	return GatewayRound{
		Database: database, JobsPerSecond: float64(cfg.Jobs) / seconds, MedianMS: quantile(waits, 0.5), P99MS: quantile(waits, 0.99), MaxMS: quantile(waits, 1),
		Processor: since(worked, stackProcessor(stack)), Submitting: ownAfter - own,
	}, err
}

// submit sends jobs and returns how long each of them took to be accepted, in milliseconds. A refusal ends it.
func (cfg *GatewayConfig) submit(ctx context.Context, gw *client.Client, ref string, jobs int) ([]float64, error) {
	waits := make([]float64, jobs)
	sub := client.Submission{Questions: Questions()[:1], AudioRef: ref, Plan: client.PlanExplicit, Spans: []client.Span{{StartS: 0, EndS: 1}}}
	var next atomic.Int64
	clients, ctx := errgroup.WithContext(ctx)
	for range cfg.Clients {
		clients.Go(func() error {
			for n := int(next.Add(1)) - 1; n < jobs; n = int(next.Add(1)) - 1 {
				began := time.Now()
				if _, err := gw.Submit(ctx, sub, nil, client.SubmitOptions{}); err != nil {
					return err
				}
				waits[n] = time.Since(began).Seconds() * 1000
			}
			return nil
		})
	}
	return waits, clients.Wait()
}
