package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/stage"
)

// enginePart is the name of the loader in readiness answers and errors.
const enginePart = "engine"

// Opened is a stage that can work.
type Opened struct {
	Handle stage.Handler
	// Close frees what the handler works with; nil for nothing. It is called once, after the last record.
	Close func() error
}

// loader brings the model into a state to work with while the service already serves health and readiness: reading gigabytes of weights to
// compare them with their digest takes minutes, and a probe would end a process that does not listen meanwhile.
type loader struct {
	bundle *model.Bundle
	parts  []model.Part
	open   func(ctx context.Context, tell func(string)) (Opened, error)
	log    *slog.Logger

	opened Opened        // valid once ready is closed
	ready  chan struct{} // closed when records may be taken
	state  atomic.Pointer[string]
}

func newLoader(bundle *model.Bundle, parts []model.Part, open func(context.Context, func(string)) (Opened, error), log *slog.Logger) *loader {
	l := &loader{bundle: bundle, parts: parts, open: open, log: log, ready: make(chan struct{})}
	l.tell("the model is being loaded")
	return l
}

// Run compares the parts with their digests, opens the handler, and closes it when ctx ends. An error ends the service.
func (l *loader) Run(ctx context.Context) error {
	begun := time.Now()
	err := l.load(ctx)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return nil
		}
		return fmt.Errorf("loading the model: %w", err)
	}
	l.log.Info("model loaded", "model", l.bundle.DisplayName(), "seconds", time.Since(begun).Seconds())
	close(l.ready)
	<-ctx.Done()
	if l.opened.Close == nil {
		return nil
	}
	return l.opened.Close()
}

func (l *loader) load(ctx context.Context) (err error) {
	if len(l.parts) > 0 {
		checked := func(done, total int64) {
			l.tell(fmt.Sprintf("the model is being loaded: %d %% of its files have been checked", 100*done/max(total, 1)))
		}
		checked(0, 1)
		if err := l.bundle.Verify(ctx, checked, l.parts...); err != nil {
			return err
		}
	}
	l.opened, err = l.open(ctx, l.tell)
	return err
}

func (l *loader) tell(state string) { l.state.Store(&state) }

// Ready says what the stage waits for.
func (l *loader) Ready() error {
	select {
	case <-l.ready:
		return nil
	default:
		return errors.New(*l.state.Load())
	}
}

// Handle is the opened handler. The runner begins after ready is closed.
func (l *loader) Handle(ctx context.Context, rec event.Record, msg proto.Message) ([]event.Record, error) {
	return l.opened.Handle(ctx, rec, msg)
}

// then begins run once the model is loaded.
func (l *loader) then(run func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-l.ready:
			return run(ctx)
		}
	}
}
