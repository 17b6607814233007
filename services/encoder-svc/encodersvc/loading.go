package encodersvc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
)

// loading is an engine that is opened while the service already answers questions about its health: reading gigabytes of weights to
// compare them with their digest takes a while.
type loading struct {
	cfg    *Config
	bundle *model.Bundle
	log    *slog.Logger
	engine encoder.Engine // valid once opened is closed
	opened chan struct{}  // closed when the engine is there
	// percent of the bundle that has been compared with its digests.
	percent atomic.Int64
	// uploaded is the percentage of the weights that are on the device.
	uploaded atomic.Int64
}

func newLoading(cfg *Config, bundle *model.Bundle, log *slog.Logger) *loading {
	return &loading{cfg: cfg, bundle: bundle, log: log, opened: make(chan struct{})}
}

// Run opens the engine and returns when ctx ends, or when the bundle turns out to be unusable.
func (l *loading) Run(ctx context.Context) error {
	begun := time.Now()
	err := l.bundle.Verify(ctx, func(done, total int64) { l.percent.Store(100 * done / max(total, 1)) })
	if err == nil {
		o := l.cfg.options(l.log)
		o.Device.Progress = func(done, total int) { l.uploaded.Store(int64(100 * done / total)) }
		l.engine, err = encoder.Open(ctx, l.bundle, o)
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("loading the model: %w", err)
	}
	l.log.Info("model loaded", "model", l.bundle.DisplayName(), "engine", l.cfg.options(nil).EngineName(l.bundle), "device", l.cfg.Device, "seconds", time.Since(begun).Seconds())
	close(l.opened)
	<-ctx.Done()
	return nil
}

// Ready says how far loading is.
func (l *loading) Ready() error {
	select {
	case <-l.opened:
		return nil
	default:
		if n := l.uploaded.Load(); n > 0 {
			return fmt.Errorf("the model is being loaded: %d %% of its weights are on the device", n)
		}
		return fmt.Errorf("the model is being loaded: %d %% of its files have been checked", l.percent.Load())
	}
}

// Encode implements Engine.
func (l *loading) Encode(ctx context.Context, pcm []int16) (tensor.Matrix, error) {
	select {
	case <-ctx.Done():
		return tensor.Matrix{}, ctx.Err()
	case <-l.opened:
		return l.engine.Encode(ctx, pcm)
	}
}

// Close implements Engine.
func (l *loading) Close() error {
	select {
	case <-l.opened:
		return l.engine.Close()
	default:
		return nil
	}
}
