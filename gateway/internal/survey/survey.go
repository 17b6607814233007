package survey

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/audio/plan"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/source"
)

// Store is the part of the job store that a survey reads.
type Store interface {
	AudioJobs(ctx context.Context, tenant, sha256, plan string, limit int) ([]store.Job, error)
	AnsweredOf(ctx context.Context, jobID, modelDigest string) ([]store.Answered, error)
	UnchangedSince(ctx context.Context, runID, uri, sha256 string) (bool, error)
}

// Deps of a Surveyor; all are needed but Bundle.
type Deps struct {
	Store   Store
	Sources interface {
		Open(ctx context.Context, uri string) (*source.Object, error)
	}
	// Stored tells whether an object is in the object store.
	Stored func(ctx context.Context, key string) (bool, error)
	// Bundle is what the stages serve; without it windows and embeddings are not known.
	Bundle *model.Bundle
	// Readers is how many files are read at once, over all callers.
	Readers int
	// MaxBytes is the size of the largest file.
	MaxBytes int64
}

// Surveyor looks at items. It is safe for concurrent use.
type Surveyor struct {
	deps    Deps
	readers *semaphore.Weighted
}

// New refuses missing dependencies.
func New(d Deps) (*Surveyor, error) {
	if d.Store == nil || d.Sources == nil || d.Stored == nil || d.Readers <= 0 || d.MaxBytes <= 0 {
		return nil, errors.New("making survey: a dependency is missing")
	}
	return &Surveyor{deps: d, readers: semaphore.NewWeighted(int64(d.Readers))}, nil
}

// Look tells of each item what a run with this spec would meet. read says that files are read whole, for their digests; else only headers are read. It
// stops at the first item that begins after until, but looks at one item at least, and returns what it has, in the order of the items.
func (s *Surveyor) Look(ctx context.Context, tenant string, spec store.RunSpec, items []store.Item, read bool, until time.Time) ([]client.PlannedItem, error) {
	out := make([]client.PlannedItem, len(items))
	group, groupCtx := errgroup.WithContext(ctx)
	done := 0
	for i, it := range items {
		if i > 0 && time.Now().After(until) {
			break
		}
		if err := s.readers.Acquire(groupCtx, 1); err != nil {
			break // a fault of the group, or the end of ctx: Wait tells
		}
		done++
		group.Go(func() (err error) {
			defer s.readers.Release(1)
			out[i], err = s.item(groupCtx, tenant, spec, it, read)
			return err
		})
	}
	if err := errors.Join(group.Wait(), ctx.Err()); err != nil {
		return nil, fmt.Errorf("looking at items: %w", err)
	}
	return out[:done], nil
}

// codes are the codes that outcomes have for the faults that a header shows.
var codes = map[audio.Code]string{
	audio.Undecodable: event.CodeAudioUndecodable, audio.Empty: event.CodeAudioEmpty, audio.TooShort: event.CodeAudioTooShort, audio.TooLarge: event.CodeAudioTooLarge,
}

func (s *Surveyor) item(ctx context.Context, tenant string, spec store.RunSpec, it store.Item, read bool) (client.PlannedItem, error) {
	p := client.PlannedItem{ID: it.ID, SHA256: it.SHA256}
	err := s.open(ctx, it, read, &p)
	if ctx.Err() != nil {
		return p, ctx.Err()
	}
	if err != nil {
		p.Code, p.Message = source.Code(err), err.Error()
		if code, ofFile := codes[audio.CodeOf(err)]; ofFile {
			p.Code = code
		}
		if p.Code == "" {
			p.Code = client.CodeSourceUnavailable
		}
		return p, nil
	}
	return p, s.known(ctx, tenant, spec, it, &p)
}

// open reads what the file tells of itself, and its digests where it is to be read whole.
func (s *Surveyor) open(ctx context.Context, it store.Item, read bool, p *client.PlannedItem) error {
	o, err := s.deps.Sources.Open(ctx, it.URI)
	if err != nil {
		return err
	}
	defer func() { _ = o.Close() }() // only read
	p.Bytes = o.Bytes
	if o.Bytes > s.deps.MaxBytes {
		return &audio.Error{Code: audio.TooLarge, Err: fmt.Errorf("the file has %d bytes, the limit is %d", o.Bytes, s.deps.MaxBytes)}
	}
	probed, err := audio.Probe(o, o.Bytes)
	p.Format, p.DurationS, p.Estimated, p.NeedsFFmpeg = probed.Format, probed.Seconds, probed.Estimated, probed.NeedsFFmpeg
	if err != nil {
		if audio.CodeOf(err) == "" && source.Code(err) == "" {
			err = fmt.Errorf("%w: %w", source.ErrUnavailable, err)
		}
		return err
	}
	if probed.Seconds > 0 && probed.Seconds < audio.MinSeconds {
		return &audio.Error{Code: audio.TooShort, Err: fmt.Errorf("the track has %.3f s", probed.Seconds)}
	}
	if probed.SoundSum != "" {
		p.Sound = probed.SoundKind + " " + probed.SoundSum
	}
	if !read {
		return nil
	}
	sound := &stretch{from: probed.From, to: probed.To, sum: sha256.New()}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(sum, sound), io.LimitReader(&stoppable{ctx, o}, s.deps.MaxBytes+1))
	p.BytesRead = n
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", source.ErrUnavailable, err)
	case n > s.deps.MaxBytes:
		return &audio.Error{Code: audio.TooLarge, Err: fmt.Errorf("the file has more than %d bytes", s.deps.MaxBytes)}
	}
	if got := event.HexSum(sum); p.SHA256 != "" && p.SHA256 != got {
		p.Code, p.Message = event.CodeSourceChanged, "the manifest tells another SHA-256 than the file has"
	} else {
		p.SHA256 = got
	}
	if p.Sound == "" && probed.SoundKind != "" {
		p.Sound = probed.SoundKind + " " + event.HexSum(sound.sum)
	}
	return nil
}

// known counts the item's windows and answers, and what earlier jobs of the tenant have left of them.
func (s *Surveyor) known(ctx context.Context, tenant string, spec store.RunSpec, it store.Item, p *client.PlannedItem) error {
	if p.Code != "" {
		return nil
	}
	if spec.ChangedSince != "" && p.SHA256 != "" {
		same, err := s.deps.Store.UnchangedSince(ctx, spec.ChangedSince, it.URI, p.SHA256)
		if err != nil || same {
			p.Unchanged = same
			return err
		}
	}
	s.count(spec, p)
	if p.SHA256 == "" || s.deps.Bundle == nil {
		return nil
	}
	// What other tenants have left is not looked for: it would say what they have asked about.
	jobs, err := s.deps.Store.AudioJobs(ctx, tenant, p.SHA256, spec.Plan, maxEarlier)
	if err != nil {
		return err
	}
	answered := make(map[[2]int]bool) // window, question of this run
	for i, job := range jobs {
		if i == 0 && job.DurationS > 0 { // decoding has told more than the header
			p.DurationS, p.Estimated = job.DurationS, false
			s.count(spec, p)
		}
		if err := s.embedded(ctx, job, p); err != nil {
			return err
		}
		if err := s.answers(ctx, spec, job, answered); err != nil {
			return err
		}
	}
	p.AnswersKnown = min(len(answered), p.Answers)
	return nil
}

// maxEarlier is how many earlier jobs about the same audio are looked at.
const maxEarlier = 4

// count plans the windows of a track whose length is known.
func (s *Surveyor) count(spec store.RunSpec, p *client.PlannedItem) {
	if s.deps.Bundle == nil || p.DurationS <= 0 {
		return
	}
	rule := plan.NewRule(plan.Mode(spec.Plan), nil, plan.HearingOf(s.deps.Bundle.Encoder))
	windows, err := rule.Windows(max(1, int64(p.DurationS*float64(rule.Rate))))
	if err != nil {
		p.Code, p.Message = event.CodePlanOutOfRange, err.Error()
		return
	}
	p.HeardS = 0
	for _, w := range windows {
		p.HeardS += min(plan.Seconds(w.Len(), rule.Rate), rule.SpanS)
	}
	p.Windows, p.Answers = len(windows), len(windows)*len(spec.Questions)
}

// embedded counts the windows of an earlier job whose embeddings are stored for this encoder.
func (s *Surveyor) embedded(ctx context.Context, job store.Job, p *client.PlannedItem) error {
	n, seen := 0, make(map[string]bool)
	for _, w := range job.Windows {
		there, asked := seen[w.Hash]
		if !asked {
			var err error
			if there, err = s.deps.Stored(ctx, s.deps.Bundle.EmbeddingKey(w.Hash)); err != nil {
				return err
			}
			seen[w.Hash] = there
		}
		if there {
			n++
		}
	}
	p.WindowsKnown = max(p.WindowsKnown, min(n, p.Windows))
	return nil
}

// answers notes which questions of the run an earlier job has had answered by the same model in a way that is repeatable: those answers are kept.
func (s *Surveyor) answers(ctx context.Context, spec store.RunSpec, job store.Job, answered map[[2]int]bool) error {
	if !s.sameWay(spec, job) {
		return nil
	}
	all, err := s.deps.Store.AnsweredOf(ctx, job.ID, s.deps.Bundle.Digest)
	if err != nil {
		return err
	}
	greedy := s.temperature(spec.Decode) == 0
	for _, a := range all {
		if a.Window >= len(job.Windows) { // an answer of the whole track is made of the others
			continue
		}
		for i, text := range spec.Questions {
			if text == a.Question && (greedy || i == a.Index) {
				answered[[2]int{a.Window, i}] = true
			}
		}
	}
	return nil
}

// sameWay tells whether a job asked as the run does, and so that the same question gets the same answer.
func (s *Surveyor) sameWay(spec store.RunSpec, job store.Job) bool {
	d, e := spec.Decode, job.Decode
	t, u := s.temperature(d), s.temperature(e)
	d.Temperature, e.Temperature = nil, nil
	return d == e && t == u && (t == 0 || d.Seed != 0) && spec.ResponseSchema == job.ResponseSchema && spec.History == nil && job.History == nil
}

// temperature is what decodes, which is the model's own where none is named.
func (s *Surveyor) temperature(d event.Decoding) float32 {
	if d.Temperature == nil {
		return s.deps.Bundle.LLM.Sampling.Temperature
	}
	return *d.Temperature
}

// stretch hashes the bytes from to to of what is written to it.
type stretch struct {
	at, from, to int64
	sum          hash.Hash
}

func (s *stretch) Write(b []byte) (int, error) {
	low, high := max(s.from, s.at), min(s.to, s.at+int64(len(b)))
	if low < high {
		s.sum.Write(b[low-s.at : high-s.at])
	}
	s.at += int64(len(b))
	return len(b), nil
}

// stoppable reads until ctx ends.
type stoppable struct {
	ctx context.Context //nolint:containedctx // io.Reader has no other way
	r   io.Reader
}

func (s *stoppable) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}
