// Package batch runs what several callers ask for on one device: whatever waits while the device is busy runs together.
package batch

import (
	"context"
	"errors"
	"runtime"
	"sync"
)

// ErrClosed is returned for work that comes after Close, and for work in hand when it is called.
var ErrClosed = errors.New("the encoder is closed")

// Config says how batches are run. Both functions are called from one goroutine, which alone uses the device.
type Config[In, Out any] struct {
	// Most is how many inputs run together at most.
	Most int
	// Run gives an output for each input. It ends early, with any error, when gone tells that nobody waits for the batch any more.
	Run func(inputs []In, gone func() bool) ([]Out, error)
	// Release frees the device, at the end.
	Release func()
}

// Queue may be used by several goroutines.
type Queue[In, Out any] struct {
	Config[In, Out]
	jobs    chan *job[In, Out]
	stop    chan struct{}
	stopped chan struct{}
	once    sync.Once
}

type job[In, Out any] struct {
	in    In
	ended <-chan struct{}   // of the caller's context
	done  chan outcome[Out] // has room for the outcome, so that nobody need wait for it
}

type outcome[Out any] struct {
	out Out
	err error
}

// New starts the goroutine that runs batches.
func New[In, Out any](c Config[In, Out]) *Queue[In, Out] {
	q := &Queue[In, Out]{Config: c, jobs: make(chan *job[In, Out]), stop: make(chan struct{}), stopped: make(chan struct{})}
	go q.loop()
	return q
}

// Do runs one input, with others that wait.
func (q *Queue[In, Out]) Do(ctx context.Context, in In) (out Out, err error) {
	j := &job[In, Out]{in: in, ended: ctx.Done(), done: make(chan outcome[Out], 1)}
	select {
	case <-ctx.Done():
		return out, ctx.Err()
	case <-q.stop:
		return out, ErrClosed
	case q.jobs <- j:
	}
	select {
	case <-ctx.Done():
		return out, ctx.Err()
	case o := <-j.done:
		return o.out, o.err
	}
}

// Close ends the queue after the step in hand, and releases the device.
func (q *Queue[In, Out]) Close() {
	q.once.Do(func() { close(q.stop) })
	<-q.stopped
}

func (q *Queue[In, Out]) loop() {
	runtime.LockOSThread() // never unlocked: ggml keeps state in the thread, see OwnThread of package schedule
	defer close(q.stopped)
	defer q.Release()
	for {
		select {
		case <-q.stop:
			return
		case first := <-q.jobs:
			q.serve(q.collect(first))
		}
	}
}

// collect takes what else waits at this moment; nobody waits for others to come.
func (q *Queue[In, Out]) collect(first *job[In, Out]) []*job[In, Out] {
	jobs := []*job[In, Out]{first}
	for len(jobs) < q.Most {
		select {
		case j := <-q.jobs:
			jobs = append(jobs, j)
		default:
			return jobs
		}
	}
	return jobs
}

// serve runs a batch, until nobody waits for any of it.
func (q *Queue[In, Out]) serve(jobs []*job[In, Out]) {
	inputs := make([]In, len(jobs))
	for i, j := range jobs {
		inputs[i] = j.in
	}
	outputs, err := q.Run(inputs, func() bool { return isClosed(q.stop) || allGone(jobs) })
	if isClosed(q.stop) {
		err = ErrClosed
	}
	for i, j := range jobs {
		o := outcome[Out]{err: err}
		if err == nil {
			o.out = outputs[i]
		}
		j.done <- o
	}
}

func allGone[In, Out any](jobs []*job[In, Out]) bool {
	for _, j := range jobs {
		if !isClosed(j.ended) {
			return false
		}
	}
	return true
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
