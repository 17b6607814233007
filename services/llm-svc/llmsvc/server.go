package llmsvc

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/larkstream/larkstream/engine/decoder"
	"github.com/larkstream/larkstream/shared/service"
)

// checkEvery is the time between two looks at a server that is not ready.
const checkEvery = time.Second

// checker is an engine whose answers come from a server elsewhere.
type checker interface {
	// Check tells what keeps the server from answering.
	Check(ctx context.Context) error
}

// server holds the stage back until the engine's server can answer: a server that loads its model takes minutes. It is ready at once
// where the engine needs none.
type server struct {
	engine checker // nil for none
	log    *slog.Logger
	ready  chan struct{} // closed when the stage may begin
	fault  atomic.Pointer[error]
}

func newServer(e decoder.Engine, log *slog.Logger) *server {
	s := &server{log: log, ready: make(chan struct{})}
	s.engine, _ = e.(checker)
	if s.engine == nil {
		close(s.ready)
	}
	return s
}

func (s *server) parts() []service.Part {
	if s.engine == nil {
		return nil
	}
	return []service.Part{{Name: "engine", Run: s.run, Ready: s.isReady}}
}

// run looks until the server is ready. Whatever comes later is met by the questions themselves.
func (s *server) run(ctx context.Context) error {
	ticks := time.NewTicker(checkEvery)
	defer ticks.Stop()
	for {
		err := s.engine.Check(ctx)
		if err == nil {
			s.log.Info("the decoder's server is ready")
			close(s.ready)
			<-ctx.Done()
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		if last := s.fault.Swap(&err); last == nil || (*last).Error() != err.Error() {
			s.log.Warn("the decoder's server is not ready", "error", err)
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *server) isReady() error {
	select {
	case <-s.ready:
		return nil
	default:
	}
	if fault := s.fault.Load(); fault != nil {
		return *fault
	}
	return errors.New("the decoder's server has not been asked yet")
}
