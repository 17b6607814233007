package ggmljukebox

import "runtime"

// job is a window that waits for the device.
type job struct {
	codes []int32
	ended <-chan struct{} // of the caller's context
	done  chan outcome    // has room for the outcome, so that nobody need wait for it
}

func newJob(codes []int32, ended <-chan struct{}) *job {
	return &job{codes: codes, ended: ended, done: make(chan outcome, 1)}
}

type outcome struct {
	frames []float32
	err    error
}

// gone tells whether nobody waits for the window any more.
func (j *job) gone() bool {
	select {
	case <-j.ended:
		return true
	default:
		return false
	}
}

// loop runs windows until the encoder is closed. It alone uses the device.
func (e *Encoder) loop() {
	runtime.LockOSThread() // never unlocked: ggml keeps state in the thread, see OwnThread of package schedule
	defer close(e.stopped)
	defer e.release()
	for {
		select {
		case <-e.stop:
			return
		case first := <-e.jobs:
			e.serve(e.collect(first))
		}
	}
}

// collect takes what else waits at this moment; nobody waits for others to come.
func (e *Encoder) collect(first *job) []*job {
	batch := []*job{first}
	for len(batch) < e.windows {
		select {
		case j := <-e.jobs:
			batch = append(batch, j)
		default:
			return batch
		}
	}
	return batch
}

// serve runs a batch, until nobody waits for any of it.
func (e *Encoder) serve(batch []*job) {
	codes := make([][]int32, len(batch))
	for i, j := range batch {
		codes[i] = j.codes
	}
	frames, err := e.run(codes, func() bool { return e.closing() || allGone(batch) })
	if e.closing() {
		err = ErrClosed
	}
	for i, j := range batch {
		if err != nil {
			j.done <- outcome{err: err}
			continue
		}
		j.done <- outcome{frames: frames[i]}
	}
}

func (e *Encoder) closing() bool {
	select {
	case <-e.stop:
		return true
	default:
		return false
	}
}

func allGone(batch []*job) bool {
	for _, j := range batch {
		if !j.gone() {
			return false
		}
	}
	return true
}
