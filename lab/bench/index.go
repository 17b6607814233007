package bench

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/pgtest"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/stage"
)

// IndexConfig says how large a run over a catalogue is.
type IndexConfig struct {
	// Items of the run. Its files are indexFiles, named again and again under ids of their own.
	Items int
	// Databases to measure: SQLite, PostgreSQL or both.
	Databases []string
	// Start starts a broker and a gateway on an empty data folder and returns the broker's address, too; env is added to their environment.
	Start func(ctx context.Context, dataDir string, env []string) (stack Stack, broker string, err error)
	// Fill adds the items of a manifest to a run, Export writes its results to a folder and reconciles them.
	Fill   func(ctx context.Context, gw *client.Client, run, manifest string) error
	Export func(ctx context.Context, gw *client.Client, run client.Run, dir string) error
	// Scratch is a folder for data folders; they are removed.
	Scratch string
	// Progress is told what is being measured.
	Progress func(what string)
}

const (
	indexFiles = 1000
	// indexTenths is in how many parts the run is measured.
	indexTenths = 10
	// answeredAtOnce is how many records the stand-in of the stages takes at once.
	answeredAtOnce = 500
	lookEvery      = 250 * time.Millisecond
)

// RunIndex measures what a run over a catalogue costs the gateway and the broker as it grows: the ledger, the controller, the recorder and the export. A
// stand-in for the stages, in this process, answers each job at once.
func RunIndex(ctx context.Context, cfg IndexConfig) (_ IndexReport, err error) {
	dir, err := os.MkdirTemp(cfg.Scratch, "lark-bench-")
	if err != nil {
		return IndexReport{}, fmt.Errorf("making a scratch folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r := newIndexReport(cfg)
	music, manifest := filepath.Join(dir, "music"), filepath.Join(dir, "items.csv")
	if err := cfg.catalogue(music, manifest); err != nil {
		return IndexReport{}, err
	}
	for n, database := range cfg.Databases {
		got, err := cfg.round(ctx, database, filepath.Join(dir, "data"+strconv.Itoa(n)), music, manifest)
		if err != nil {
			return IndexReport{}, fmt.Errorf("measuring a run with %s: %w", database, err)
		}
		r.Rounds = append(r.Rounds, got)
	}
	return r, nil
}

// catalogue writes files of a second and a manifest that names them.
func (cfg *IndexConfig) catalogue(music, manifest string) (err error) {
	if err := os.MkdirAll(music, 0o700); err != nil {
		return fmt.Errorf("making a folder of music: %w", err)
	}
	for i := range min(indexFiles, cfg.Items) {
		if err := os.WriteFile(filepath.Join(music, fmt.Sprintf("%d.wav", i)), tone(i, 1), 0o600); err != nil {
			return fmt.Errorf("writing a file of music: %w", err)
		}
	}
	f, err := os.Create(manifest)
	if err != nil {
		return fmt.Errorf("writing a manifest: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := []byte("id,path,title\n")
	for i := range cfg.Items {
		lines = fmt.Appendf(lines, "item%07d,%s,Title %d\n", i, filepath.Join(music, fmt.Sprintf("%d.wav", i%indexFiles)), i)
		if len(lines) > 1<<16 || i == cfg.Items-1 {
			if _, err := f.Write(lines); err != nil {
				return fmt.Errorf("writing a manifest: %w", err)
			}
			lines = lines[:0]
		}
	}
	return nil
}

// round measures on an empty database and an empty broker.
func (cfg *IndexConfig) round(ctx context.Context, database, data, music, manifest string) (_ IndexRound, err error) {
	url := "sqlite://" + filepath.Join(data, "lark.db")
	if database == PostgreSQL {
		server, err := pgtest.Start(ctx, pgtest.Config{Durable: true})
		if err != nil {
			return IndexRound{}, err
		}
		defer func() { err = errors.Join(err, server.Close()) }()
		if url, err = server.NewDatabase(ctx); err != nil {
			return IndexRound{}, err
		}
	}
	env := []string{"DATABASE_URL=" + url, "LARK_SOURCES=" + music}
	for _, limit := range []string{"MAX_OPEN_JOBS", "BULK_WINDOWS"} {
		env = append(env, "LARK_GATEWAY_LIMITS_"+limit+"=100000000")
	}
	stack, broker, err := cfg.Start(ctx, data, env)
	if err != nil {
		return IndexRound{}, err
	}
	defer func() {
		stack.Stop(context.WithoutCancel(ctx))
		err = errors.Join(err, os.RemoveAll(data))
	}()
	stages, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	stages.Go(func() error { return standIn(ctx, broker) })
	defer func() {
		cancel()
		err = errors.Join(err, stages.Wait())
	}()
	gw, err := client.New(stack.GatewayURL(), nil)
	if err != nil {
		return IndexRound{}, err
	}
	return cfg.measure(ctx, database, stack, gw, manifest, filepath.Join(data, "export"))
}

func (cfg *IndexConfig) measure(ctx context.Context, database string, stack Stack, gw *client.Client, manifest, export string) (IndexRound, error) {
	r := IndexRound{Database: database}
	run, err := gw.CreateRun(ctx, client.RunSubmission{Questions: Questions()[:1]})
	if err != nil {
		return r, err
	}
	cfg.Progress(fmt.Sprintf("%s: filling a run with %d items", database, cfg.Items))
	began, worked := time.Now(), stackProcessor(stack)
	if err := cfg.Fill(ctx, gw, run.ID, manifest); err != nil {
		return r, err
	}
	r.FillS, r.Fill = time.Since(began).Seconds(), since(worked, stackProcessor(stack))
	if _, err := gw.MoveRun(ctx, run.ID, "start"); err != nil {
		return r, err
	}
	if run, err = cfg.follow(ctx, &r, stack, gw, run.ID); err != nil {
		return r, err
	}
	cfg.Progress(fmt.Sprintf("%s: writing the export", database))
	began, worked = time.Now(), stackProcessor(stack)
	if err := cfg.Export(ctx, gw, run, export); err != nil {
		return r, err
	}
	r.ExportS, r.Export = time.Since(began).Seconds(), since(worked, stackProcessor(stack))
	r.Peak = stackMemory(stack)
	r.Peak["bench"] = PeakRSS("self")
	return r, nil
}

// follow measures each tenth of a run until the run has ended.
func (cfg *IndexConfig) follow(ctx context.Context, r *IndexRound, stack Stack, gw *client.Client, id string) (client.Run, error) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	part := IndexPart{}
	began, worked := time.Now(), stackProcessor(stack)
	for {
		asked := time.Now()
		run, err := gw.Run(ctx, id)
		if err != nil {
			return run, err
		}
		part.StatusMS = max(part.StatusMS, time.Since(asked).Seconds()*1000)
		if run.State == client.RunPaused || run.Counts.Failed > 0 {
			return run, fmt.Errorf("the run is %s with %d failed items: %s", run.State, run.Counts.Failed, run.Reason)
		}
		ended := client.RunTerminal(run.State)
		if done := run.Counts.Succeeded; done >= (len(r.Parts)+1)*cfg.Items/indexTenths && len(r.Parts) < indexTenths-1 || ended {
			now := stackProcessor(stack)
			part.Items, part.Seconds, part.Processor, part.Anonymous = done, time.Since(began).Seconds(), since(worked, now), anonymous(stack)
			r.Parts = append(r.Parts, part)
			cfg.Progress(fmt.Sprintf("%s: %d of %d items", r.Database, done, cfg.Items))
			part, worked, began = IndexPart{}, now, time.Now()
		}
		if ended {
			return run, nil
		}
		select {
		case <-ctx.Done():
			return run, ctx.Err()
		case <-ticker.C:
		}
	}
}

// anonymous is the memory of every process that is its own.
func anonymous(stack Stack) map[string]int64 {
	sizes := map[string]int64{}
	for stage, pid := range stack.Processes() {
		if size := resident(strconv.Itoa(pid)).Anonymous; size > 0 {
			sizes[stage] = size
		}
	}
	return sizes
}

// standIn answers jobs in place of all stages until ctx ends: a plan of one window for each job, and an outcome for each question. It is a stage like the others: it commits what it
// has read, and deletes it later.
func standIn(ctx context.Context, broker string) error {
	cfg, log := kafka.Config{Brokers: []string{broker}}, slog.New(slog.DiscardHandler)
	producer, err := kafka.NewProducer(cfg, kafka.Deps{Log: log})
	if err != nil {
		return err
	}
	defer func() { _ = producer.Close(context.WithoutCancel(ctx)) }() // what is published is acknowledged
	runner, err := stage.New(stage.Config{
		Stage: event.StageChunker, Topics: event.InLanes(event.TopicJobs), Concurrency: answeredAtOnce, MaxInFlightRecords: 8 * answeredAtOnce, Unordered: true, KeepFinished: kafka.KeepFinished,
	}, stage.Deps{Kafka: cfg, Producer: producer, Log: log, Handle: func(_ context.Context, _ event.Record, msg proto.Message) ([]event.Record, error) {
		job, ok := msg.(*eventpb.Job)
		if !ok {
			return nil, nil
		}
		return answersTo(job)
	}})
	if err != nil {
		return err
	}
	return runner.Run(ctx)
}

func answersTo(job *eventpb.Job) ([]event.Record, error) {
	sum := sha256.Sum256([]byte(job.GetAudio().GetSha256()))
	win := &eventpb.Window{Hash: hex.EncodeToString(sum[:]), HeardS: 1, Span: &eventpb.Span{EndS: 1}}
	track := &eventpb.Track{Sha256: job.GetAudio().GetSha256(), DurationS: 1}
	plan, err := event.Encode("bench", &eventpb.JobPlan{JobId: job.GetJobId(), Track: track, Questions: uint32(len(job.GetQuestions())), Windows: []*eventpb.Window{win}})
	if err != nil {
		return nil, err
	}
	out := []event.Record{plan}
	task := &eventpb.Task{JobId: job.GetJobId(), Track: track, Window: win, Questions: job.GetQuestions(), Cache: eventpb.Cache_CACHE_MISS}
	for _, q := range job.GetQuestions() {
		o := event.NewOutcome(task, q)
		o.State, o.Answer, o.Model = eventpb.State_STATE_ANSWERED, "The key is C major.", "stand-in"
		rec, err := event.Encode("bench", o)
		if err != nil {
			return nil, err
		}
		out = append(out, rec)
	}
	return out, nil
}
