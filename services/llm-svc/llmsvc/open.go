package llmsvc

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/larkstream/larkstream/engine/decoder"
	"github.com/larkstream/larkstream/services/llm-svc/internal/answers"
	"github.com/larkstream/larkstream/services/llm-svc/internal/handle"
	"github.com/larkstream/larkstream/shared/telemetry"
	"github.com/larkstream/larkstream/shared/worker"
)

// checkEvery is the time between two checks of a server that is not ready.
const checkEvery = time.Second

// checker is an engine whose answers come from a server elsewhere.
type checker interface {
	// Check tells what keeps the server from answering.
	Check(ctx context.Context) error
}

// open opens the decoder and waits until it can answer.
func open(ctx context.Context, tell func(string), cfg *Config, w *worker.Worker, step worker.Step) (worker.Opened, error) {
	o := cfg.options(w.Log)
	engine, err := decoder.Open(w.Bundle, o)
	if err != nil {
		return worker.Opened{}, err
	}
	if server, ok := engine.(checker); ok {
		err = await(ctx, server, tell, w.Log)
	}
	kept, failed := openAnswers(cfg, w)
	h, fault := handle.New(handle.Deps{
		Step: step, Engine: engine, EngineName: o.EngineName(w.Bundle), Cache: w.Cache, Metrics: telemetry.NewEngineMetrics(), Answers: kept,
	})
	if err = errors.Join(err, failed, fault); err != nil {
		return worker.Opened{}, errors.Join(err, engine.Close())
	}
	return worker.Opened{Handle: h.Handler(), Close: engine.Close}, nil
}

// openAnswers opens the answer cache, which is nil if it is switched off.
func openAnswers(cfg *Config, w *worker.Worker) (*answers.Cache, error) {
	if !cfg.AnswerCache {
		return nil, nil //nolint:nilnil // the handler takes nil for off
	}
	return answers.New(answers.Deps{
		Store: w.Blobs, Metrics: telemetry.NewCacheMetrics(), Log: w.Log, Model: w.Bundle.Digest,
		Engine: cfg.options(nil).EngineName(w.Bundle) + ":" + cfg.VLLMModel, // a server may serve the same model under several names, in several forms
	})
}

// await checks the server until it is ready: a server that loads its model takes minutes. A server that fails later makes the questions fail,
// which are tried again.
func await(ctx context.Context, server checker, tell func(string), log *slog.Logger) error {
	tell("the decoder's server has not been asked yet")
	ticks := time.NewTicker(checkEvery)
	defer ticks.Stop()
	for last := ""; ; {
		err := server.Check(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			log.Info("the decoder's server is ready")
			return nil
		}
		tell(err.Error())
		if err.Error() != last {
			last = err.Error()
			log.Warn("the decoder's server is not ready", "error", err)
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
