// Package handle turns a job into its windows: the work of chunker-svc on one record.
package handle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/audio/cut"
	"github.com/larkstream/larkstream/engine/audio/plan"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Stage is the name of this stage in records, topics and metrics.
const Stage = event.StageChunker

// Emitter sends progress events, best effort.
type Emitter interface {
	Emit(ctx context.Context, rec event.Record)
}

// Deps are what a Handler works with; all are needed.
type Deps struct {
	Cutter *cut.Cutter
	Blobs  *blob.Store
	Cache  cache.Cache
	Bundle *model.Bundle
	Events Emitter
}

// Handler handles records of lark.jobs.v1. It is safe for concurrent use.
type Handler struct{ Deps }

// New refuses missing dependencies.
func New(d Deps) (*Handler, error) {
	if d.Cutter == nil || d.Blobs == nil || d.Cache == nil || d.Bundle == nil || d.Events == nil {
		return nil, errors.New("making chunker: a dependency is missing")
	}
	return &Handler{Deps: d}, nil
}

// Handle plans a job: its outputs are the job's plan and, for every window, an EmbeddingReady if the embedding is
// already known or a WindowReady if not. A WindowReady that comes in names a window whose PCM has been
// evicted; it is cut again and goes out as it came.
func (h *Handler) Handle(ctx context.Context, rec event.Record) ([]event.Record, error) {
	msg, err := event.Decode(rec)
	if err != nil {
		return nil, err
	}
	switch m := msg.(type) {
	case *eventpb.Job:
		if h.foreign(m.GetModelDigest()) {
			return nil, stage.OtherModel(rec, h.Bundle.DisplayName())
		}
		return h.job(ctx, m)
	case *eventpb.WindowReady:
		if h.foreign(m.GetTask().GetModelDigest()) {
			return nil, stage.OtherModel(rec, h.Bundle.DisplayName())
		}
		return h.recut(ctx, m)
	}
	return nil, fmt.Errorf("%w: unexpected ce_type %.80q on %s", event.ErrUndecodable, rec.Get(event.HeaderType), rec.Topic)
}

// foreign tells whether a record asks for another model than this instance serves.
func (h *Handler) foreign(digest string) bool { return digest != "" && digest != h.Bundle.Digest }

func (h *Handler) job(ctx context.Context, job *eventpb.Job) ([]event.Record, error) {
	begun := time.Now()
	h.progress(ctx, job.GetJobId(), &eventpb.Progress{Stage: Stage, Status: event.StatusStarted})
	rule := RuleOf(job.GetPlan(), job.GetSpans(), h.Bundle.Encoder.SpanS)
	track, err := h.planned(ctx, job, rule)
	if err != nil {
		return nil, classify(err)
	}
	ms := float64(time.Since(begun)) / float64(time.Millisecond)
	h.progress(ctx, job.GetJobId(), &eventpb.Progress{Stage: Stage, Status: event.StatusDone, Ms: ms, Windows: uint32(len(track.windows))})
	return h.outputs(ctx, job, track, ms)
}

// planned returns the job's windows with PCM or an embedding behind each: from the stored plan if everything it
// needs is still there, else by decoding the track.
func (h *Handler) planned(ctx context.Context, job *eventpb.Job, rule plan.Rule) (*track, error) {
	key := planKey(job.GetAudio().GetSha256(), rule)
	known, err := h.loadPlan(ctx, key)
	if err != nil {
		return nil, err
	}
	if known != nil {
		complete, err := h.lookUp(ctx, known)
		if err != nil || complete {
			return known, err
		}
	}
	fresh, err := h.decode(ctx, job.GetAudio(), rule, nil)
	if err != nil {
		return nil, err
	}
	if _, err := h.lookUp(ctx, fresh); err != nil {
		return nil, err
	}
	return fresh, h.storePlan(ctx, key, fresh)
}

// decode is cut under a span.
func (h *Handler) decode(ctx context.Context, file *eventpb.Audio, rule plan.Rule, want func(hash string) bool) (*track, error) {
	ctx, span := telemetry.Tracer().Start(ctx, telemetry.SpanDecode,
		trace.WithAttributes(telemetry.AttrTrackSHA256.String(file.GetSha256())))
	defer span.End()
	t, info, err := h.cut(ctx, file, rule, want)
	telemetry.Mark(span, err)
	span.SetAttributes(telemetry.AttrDecoder.String(info.Format), telemetry.AttrSampleRate.Int(info.Rate),
		telemetry.AttrChannels.Int(info.Channels), telemetry.AttrAudioSeconds.Float64(info.Seconds()),
		telemetry.AttrWindows.Int(len(t.windows)))
	return t, err
}

// cut decodes the track and stores the PCM of its windows, or only of those that want chooses.
func (h *Handler) cut(ctx context.Context, file *eventpb.Audio, rule plan.Rule, want func(hash string) bool) (*track, audio.Info, error) {
	t := &track{sha256: file.GetSha256()}
	open := func() (io.ReadCloser, error) { return h.Blobs.Get(ctx, file.GetBlobKey()) }
	info, err := h.Cutter.Cut(ctx, open, rule, func(w cut.Window) error {
		t.windows = append(t.windows, h.window(w))
		if want != nil && !want(w.Hash) {
			return nil
		}
		return h.storePCM(ctx, w)
	})
	t.seconds = info.Seconds()
	return t, info, err
}

func (h *Handler) window(w cut.Window) *knownWindow {
	return &knownWindow{pb: &eventpb.Window{
		Index: uint32(w.Index), Hash: w.Hash, BlobKey: event.PCMKey(w.Hash), Span: spanOf(w.Range), Samples: w.Len(),
		HeardS: h.heard(w.Len()),
	}}
}

// heard is how many seconds of a window the encoder hears.
func (h *Handler) heard(samples int64) float64 {
	return min(plan.Seconds(samples), h.Bundle.Encoder.SpanS)
}

func (h *Handler) storePCM(ctx context.Context, w cut.Window) error {
	key := event.PCMKey(w.Hash)
	there, err := h.Blobs.Exists(ctx, key)
	if err != nil || there {
		return err
	}
	return h.Blobs.PutBytes(ctx, key, w.PCM)
}

// recut makes the PCM of one window again and sends the record on to the encoder.
func (h *Handler) recut(ctx context.Context, m *eventpb.WindowReady) ([]event.Record, error) {
	task := m.GetTask()
	sha, want := task.GetTrack().GetSha256(), task.GetWindow().GetHash()
	rule := RuleOf(eventpb.PlanMode_PLAN_MODE_EXPLICIT, []*eventpb.Span{task.GetWindow().GetSpan()}, h.Bundle.Encoder.SpanS)
	file := &eventpb.Audio{Sha256: sha, BlobKey: event.AudioKey(sha)}
	t, err := h.decode(ctx, file, rule, func(hash string) bool { return hash == want })
	if err != nil {
		return nil, classify(err)
	}
	if got := t.windows[0].pb.GetHash(); got != want {
		return nil, stage.Permanent(event.CodeInternal, fmt.Errorf("cutting window %s again gave %s: the track is now decoded otherwise", want, got))
	}
	out, err := event.Encode(Stage, m)
	if err != nil {
		return nil, err
	}
	return []event.Record{out}, nil
}

// progress sends an event, best effort.
func (h *Handler) progress(ctx context.Context, jobID string, p *eventpb.Progress) {
	rec, err := event.Encode(Stage, &eventpb.Event{
		JobId: jobID, AtUnixMs: time.Now().UnixMilli(), Body: &eventpb.Event_Progress{Progress: p},
	})
	if err == nil {
		h.Events.Emit(ctx, rec)
	}
}

// codes are the faults of a file by the names that outcomes give them.
var codes = map[audio.Code]string{
	audio.Undecodable: event.CodeAudioUndecodable,
	audio.Empty:       event.CodeAudioEmpty,
	audio.TooShort:    event.CodeAudioTooShort,
	audio.TooLong:     event.CodeAudioTooLong,
	audio.TooLarge:    event.CodeAudioTooLarge,
	audio.Timeout:     event.CodeAudioTimeout,
	audio.NeedsFFmpeg: event.CodeNeedsFFmpeg,
}

// classify makes faults of the file permanent; everything else is tried again.
func classify(err error) error {
	code, ofFile := codes[audio.CodeOf(err)]
	switch {
	case ofFile:
		return stage.Permanent(code, err)
	case errors.Is(err, plan.ErrOutOfRange):
		return stage.Permanent(event.CodePlanOutOfRange, err)
	case errors.Is(err, blob.ErrNotFound):
		return stage.Permanent(event.CodeAudioMissing, errors.New("the audio is no longer stored: submit it again"))
	}
	return err
}
