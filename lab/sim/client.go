//go:build synctests

package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

// watcher is a client with one job: it submits it, perhaps cancels it, and follows it to its end.
type watcher struct {
	w   *world
	job job

	mu        sync.Mutex
	id        string
	cancelled bool // acknowledged
	told      []client.Event
	end       client.Job
	outcomes  []client.Outcome
	err       error // why the end was not seen
}

// follow does it all.
func (c *watcher) follow(ctx context.Context) {
	if !rest(ctx, c.job.at) {
		return
	}
	if c.job.fed {
		c.err = c.feed(ctx)
	} else {
		c.err = c.submit(ctx)
	}
	if c.err != nil {
		return
	}
	if c.job.deadly {
		c.w.deadly.Store(c.id, true)
	}
	c.w.history.add(entry{who: c.job.name, what: accepted, id: c.id, job: c.id})
	var cancelling sync.WaitGroup
	asking, stop := context.WithCancel(ctx)
	if c.job.cancelAt > 0 {
		cancelling.Go(func() { c.cancel(asking) })
	}
	c.err = c.wait(ctx)
	stop()
	cancelling.Wait()
	c.w.history.add(entry{who: c.job.name, what: finished, id: c.id, job: c.id, detail: c.end.State})
}

// api is a client of one gateway or another.
func (c *watcher) api() *client.Client {
	gateways := c.w.of(event.StageRecorder)
	api, err := client.New("http://gateway", transport{gateways[c.w.faults.below(len(gateways), c.job.name, "gateway")]}.client())
	if err != nil {
		panic(err) // the URL is a constant
	}
	return api
}

// submit uploads the track, again and again until the gateway takes it.
func (c *watcher) submit(ctx context.Context) error {
	sub := client.Submission{Questions: c.questions(), Plan: client.PlanExplicit, Spans: c.spans(), DeadlineS: c.job.deadline.Seconds(), Options: c.options()}
	if c.job.hook {
		sub.Webhook = &client.JobWebhook{URL: hookURL(c.job.name)}
	}
	for {
		job, err := c.api().Submit(ctx, sub, &client.Upload{Name: "track.wav", Reader: bytes.NewReader(track(c.job.track))},
			client.SubmitOptions{IdempotencyKey: c.job.name})
		if err == nil {
			c.id = job.ID
			return nil
		}
		if p, ok := client.AsProblem(err); ok && !p.Retryable && p.Status < 500 {
			return err
		}
		if !rest(ctx, time.Second) {
			return err
		}
	}
}

// feed publishes the job as `lark feed` does.
func (c *watcher) feed(ctx context.Context) error {
	data := track(c.job.track)
	sum := sha256.Sum256(data)
	sha := hex.EncodeToString(sum[:])
	if err := c.w.objects.PutBytes(ctx, event.AudioKey(sha), data); err != nil {
		return err
	}
	spec := event.JobSpec{
		ID: event.DerivedJobID(strconv.FormatUint(c.w.seed, 10), c.job.name), Audio: event.AudioFile{SHA256: sha, Bytes: int64(len(data))},
		Questions: c.questions(), Plan: event.PlanExplicit, Spans: c.spans(), Created: time.Now().Add(c.job.skew), Options: c.options(),
	}
	if c.job.deadline > 0 {
		spec.Deadline = spec.Created.Add(c.job.deadline)
	}
	if c.job.model > 0 {
		b, err := model.Read(c.w.models[c.job.model-1])
		if err != nil {
			return err
		}
		spec.ModelDigest = b.Digest
	}
	c.id = spec.ID
	rec, err := event.Encode("feed", event.NewJob(spec))
	if err != nil {
		return err
	}
	producer, err := kafka.NewProducer(c.w.kafka("feed"), kafka.Deps{Log: c.w.log})
	if err != nil {
		return err
	}
	defer func() { _ = producer.Close(context.WithoutCancel(ctx)) }() // what was published is acknowledged
	rec = rec.With(event.HeaderTime, spec.Created.UTC().Format(time.RFC3339Nano))
	recs := []event.Record{c.spoil(rec)}
	if c.job.twice {
		recs = append(recs, recs[0])
	}
	for err = producer.Publish(ctx, recs...); err != nil && rest(ctx, time.Second); {
		err = producer.Publish(ctx, recs...)
	}
	return err
}

// spoil makes the record what the job says is wrong with it.
func (c *watcher) spoil(rec event.Record) event.Record {
	switch c.job.hostile {
	case newer:
		return rec.With(event.HeaderType, "larkstream.job.v2")
	case broken:
		rec.Value = append(slices.Clone(rec.Value[:len(rec.Value)/2]), 0xff)
	case sound:
	}
	return rec
}

func (c *watcher) options() (o event.Options) {
	if c.job.bulk {
		o.Lane = event.LaneBulk
	}
	return o
}

func (c *watcher) questions() []string {
	return []string{"Which key?", "Which tempo?"}[:c.job.questions]
}

func (c *watcher) spans() []event.Span {
	out := make([]event.Span, c.job.windows)
	for i := range out {
		out[i] = event.Span{StartS: float64(i) * windowSeconds, EndS: float64(i+1) * windowSeconds}
	}
	return out
}

// cancel asks until the gateway acknowledges it.
func (c *watcher) cancel(ctx context.Context) {
	if !rest(ctx, c.job.cancelAt) {
		return
	}
	for {
		job, err := c.api().Cancel(ctx, c.id)
		if err == nil {
			c.mu.Lock()
			c.cancelled = !client.Terminal(job.State)
			c.mu.Unlock()
			c.w.history.add(entry{who: c.job.name, what: cancelled, id: c.id, job: c.id, detail: job.State})
			return
		}
		if !rest(ctx, time.Second) {
			return
		}
	}
}

// wait follows the job's events to its end and reads its outcomes.
func (c *watcher) wait(ctx context.Context) error {
	patient := patience
	if c.job.hostile != sound {
		patient = 2 * faultsFor // perhaps nobody can tell which job it is
	}
	for {
		err := c.api().Watch(ctx, c.id, client.WatchOptions{Patience: patient}, func(e client.Event) error {
			c.told = append(c.told, e)
			return nil
		})
		if err == nil {
			break
		}
		c.told = nil // the next watch begins at the start
		if c.job.hostile != sound && time.Since(c.w.history.start) > 2*faultsFor {
			return nil
		}
		if p, ok := client.AsProblem(err); !rest(ctx, time.Second) || (ok && p.Status != 404 && !p.Retryable && p.Status < 500) {
			return err
		}
	}
	return c.read(ctx)
}

// read reads the job and its outcomes.
func (c *watcher) read(ctx context.Context) error {
	for {
		var err, fault error
		c.end, err = c.api().Get(ctx, c.id)
		c.outcomes, fault = c.api().Outcomes(ctx, c.id)
		if err = errors.Join(err, fault); err == nil || !rest(ctx, time.Second) {
			return err
		}
	}
}

// tracks keeps what was made, for making it costs more than the rest of a job.
var tracks sync.Map

// track gives the bytes of a track; nobody may change them.
func track(n int) []byte {
	if data, ok := tracks.Load(n); ok {
		return data.([]byte)
	}
	data, _ := tracks.LoadOrStore(n, newTrack(n))
	return data.([]byte)
}

// newTrack makes a WAV file of noise: mono, 16 bits, 44.1 kHz, long enough for four windows.
func newTrack(n int) []byte {
	const rate = 44100
	seconds := 5 * windowSeconds
	samples := int(rate * seconds)
	var b bytes.Buffer
	b.WriteString("RIFF")
	le := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) } // memory: it cannot fail
	le(uint32(36 + 2*samples))
	b.WriteString("WAVEfmt ")
	le(uint32(16))
	le([]uint16{1, 1})
	le([]uint32{rate, 2 * rate})
	le([]uint16{2, 16})
	b.WriteString("data")
	le(uint32(2 * samples))
	noise := dice(n).stream("track")
	for range samples {
		le(int16(noise() >> 50))
	}
	return b.Bytes()
}
