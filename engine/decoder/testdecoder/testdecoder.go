// Package testdecoder answers without a model: at once or after a set delay, always the same text for the same window and
// question. It stands behind contract.Engine in tests of everything around a decoder.
package testdecoder

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/larkstream/larkstream/engine/decoder/contract"
)

// Engine answers "Test answer <hash of window and question>." word by word.
type Engine struct {
	width    int
	delay    time.Duration
	answered atomic.Int64
	quit     chan struct{}
	once     sync.Once
}

var _ contract.Engine = (*Engine)(nil)

// New makes an engine for soft prompts of the given width. delay is the time one question takes.
func New(width int, delay time.Duration) *Engine {
	return &Engine{width: width, delay: delay, quit: make(chan struct{})}
}

// Answered counts the questions answered.
func (e *Engine) Answered() int64 { return e.answered.Load() }

// Close implements contract.Engine.
func (e *Engine) Close() error {
	e.once.Do(func() { close(e.quit) })
	return nil
}

// Answer implements contract.Engine.
func (e *Engine) Answer(ctx context.Context, req contract.Request) ([]contract.Result, error) {
	if err := contract.CheckSoft(req.Soft, e.width); err != nil {
		return nil, err
	}
	came := time.Now()
	results := make([]contract.Result, 0, len(req.Questions))
	for _, q := range req.Questions {
		began := time.Now()
		if err := e.pause(ctx); err != nil {
			return nil, err
		}
		first := time.Since(came)
		text := answer(req, q)
		words := strings.SplitAfter(text, " ")
		for _, w := range words {
			if req.OnToken != nil {
				req.OnToken(q.Index, w)
			}
		}
		e.answered.Add(1)
		ended := time.Now()
		results = append(results, contract.Result{
			Index: q.Index, Text: text, PromptTokens: req.Soft.Rows + len(strings.Fields(q.Text)), AudioTokens: req.Soft.Rows, OutputTokens: len(words),
			Finish: contract.FinishStop, Began: began, Ended: ended, Decode: ended.Sub(began), FirstToken: first,
		})
	}
	return results, e.ended(ctx)
}

// pause waits for the delay of one question.
func (e *Engine) pause(ctx context.Context) error {
	timer := time.NewTimer(e.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-e.quit:
	}
	return e.ended(ctx)
}

func (e *Engine) ended(ctx context.Context) error {
	select {
	case <-e.quit:
		return contract.ErrClosed
	default:
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func answer(req contract.Request, q contract.Question) string {
	raw := []byte(q.Text)
	for _, v := range req.Soft.Data {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return fmt.Sprintf("Test answer %08x.", crc32.ChecksumIEEE(raw))
}
