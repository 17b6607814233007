package handle

import (
	"context"
	"errors"
	"fmt"
	"io"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/audio/cut"
	"github.com/larkstream/larkstream/engine/audio/plan"
	"github.com/larkstream/larkstream/engine/mir/check"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/source"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
	"github.com/larkstream/larkstream/shared/worker"
)

// Stage is the name of this stage in records, topics and metrics.
const Stage = event.StageChunker

// Deps are what a Handler works with; all but Measure are needed.
type Deps struct {
	worker.Step
	Cutter *cut.Cutter
	Blobs  *blob.Store
	Cache  cache.Cache
	Limits Limits
	// Sources are the places where audio is read that is not stored; nil allows none.
	Sources *source.Sources
	// Measure measures each window, so that answers about it can be checked; nil leaves windows unmeasured.
	Measure func(pcm []int16) check.Measured
}

// Handler handles the messages of lark.jobs.v1. It is safe for concurrent use.
type Handler struct{ Deps }

// New refuses missing dependencies.
func New(d Deps) (*Handler, error) {
	if d.Validate() != nil || d.Cutter == nil || d.Blobs == nil || d.Cache == nil || d.Limits.Answers <= 0 {
		return nil, errors.New("making chunker: a dependency is missing")
	}
	if d.Sources == nil {
		d.Sources = &source.Sources{}
	}
	return &Handler{Deps: d}, nil
}

// Handler is the stage's handler: a job is planned, a window that comes back is cut again.
func (h *Handler) Handler() stage.Handler {
	return worker.OneOf(worker.Handle(h.Step, h.Job), worker.Handle(h.Step, h.Recut))
}

// Job plans a job. It returns the job's plan and, for every window, an EmbeddingReady if the embedding is already known, or else a
// WindowReady.
func (h *Handler) Job(ctx context.Context, job *eventpb.Job) ([]proto.Message, error) {
	rule := RuleOf(job.GetPlan(), job.GetSpans(), plan.HearingOf(h.Bundle.Encoder))
	var t *track
	ms, err := h.Timed(ctx, &eventpb.Task{JobId: job.GetJobId()}, func(done *eventpb.Progress) (err error) {
		if t, err = h.planned(ctx, job, rule); err != nil {
			return classify(err)
		}
		if damage := t.damage(); job.GetStrict() && damage != "" {
			return stage.Permanent(event.CodeAudioDamaged, fmt.Errorf("the track is damaged, and the job is strict: %s", damage))
		}
		done.Windows = uint32(len(t.windows))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return h.outputs(ctx, job, t, ms), nil
}

// planned returns the job's windows with PCM or an embedding behind each: from the stored plan if everything that
// the plan needs is still there, else by decoding the track.
func (h *Handler) planned(ctx context.Context, job *eventpb.Job, rule plan.Rule) (*track, error) {
	key := worker.Scoped(ctx, h.planKey(job.GetAudio().GetSha256(), rule))
	known, err := h.loadPlan(ctx, key)
	if err != nil {
		return nil, err
	}
	if known != nil {
		if err := h.Limits.checkAnswers(len(known.windows), len(job.GetQuestions())); err != nil {
			return nil, err
		}
		complete, err := h.lookUp(ctx, known)
		if err != nil || complete {
			return known, err
		}
	}
	fresh, err := h.decode(ctx, job.GetAudio(), rule, wanted{questions: len(job.GetQuestions())})
	if err != nil {
		return nil, err
	}
	if _, err := h.lookUp(ctx, fresh); err != nil {
		return nil, err
	}
	return fresh, h.storePlan(ctx, key, fresh)
}

// wanted says what the windows are cut for: a number of questions about each of them, or the PCM of one window.
type wanted struct {
	questions int
	hash      string
}

// decode cuts the track as cut does, under a span.
func (h *Handler) decode(ctx context.Context, file *eventpb.Audio, rule plan.Rule, want wanted) (*track, error) {
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

// cut decodes the track and stores the PCM of its windows, or of the one that is wanted. The file is hashed on the way: what is under its name
// may have been replaced or damaged.
func (h *Handler) cut(ctx context.Context, file *eventpb.Audio, rule plan.Rule, want wanted) (*track, audio.Info, error) {
	t := &track{sha256: file.GetSha256()}
	src := &original{places: h.Sources, store: h.Blobs, file: file}
	room, err := h.windowBytes(ctx, src)
	if err != nil {
		return t, audio.Info{}, err
	}
	defer src.close()
	info, err := h.Cutter.Cut(ctx, func() (io.ReadCloser, error) { return src.open(ctx) }, rule, func(w cut.Window) error {
		if err := stage.Yield(ctx); err != nil { // measuring the windows of an hour of sound takes half a minute
			return err
		}
		if err := h.Limits.checkAnswers(w.Of, want.questions); err != nil {
			return err
		}
		known := h.window(w)
		t.windows = append(t.windows, known)
		if want.hash != "" && want.hash != w.Hash {
			return nil
		}
		if err := room.take(w.Hash, len(w.PCM)); err != nil {
			return err
		}
		if want.hash == "" && len(t.windows) <= maxMeasured {
			known.pb.Measured = h.measure(w.PCM)
		}
		return h.storePCM(ctx, w)
	})
	if code := audio.CodeOf(err); err == nil || (code != "" && code != audio.TooLarge) {
		if other := src.verify(ctx); other != nil {
			return t, info, other
		}
	}
	t.seconds, t.missing = info.Seconds(), info.MissingS
	for _, w := range info.Warnings() {
		t.warnings = append(t.warnings, &eventpb.Warning{Code: string(w.Code), AtS: w.AtS, Message: w.Message})
	}
	return t, info, err
}

func (h *Handler) window(w cut.Window) *knownWindow {
	pb := &eventpb.Window{
		Index: uint32(w.Index), Hash: w.Hash, BlobKey: event.PCMKey(w.Hash), Span: spanOf(w.Range, h.Bundle.Encoder.Rate()), Samples: w.Len(),
		HeardS: h.heard(w.Len()),
	}
	for _, fault := range w.Warnings {
		pb.Warnings = append(pb.Warnings, string(fault.Code))
	}
	return &knownWindow{pb: pb}
}

// heard is how many seconds of a window the encoder hears.
func (h *Handler) heard(samples int64) float64 {
	return min(plan.Seconds(samples, h.Bundle.Encoder.Rate()), h.Bundle.Encoder.SpanS)
}

func (h *Handler) storePCM(ctx context.Context, w cut.Window) error {
	key := event.PCMKey(w.Hash)
	there, err := h.Blobs.Exists(ctx, key)
	if err != nil || there {
		return err
	}
	return h.Blobs.PutBytes(ctx, key, w.PCM)
}

// Recut cuts a window whose PCM has been evicted again. The message goes on to the encoder as it came.
func (h *Handler) Recut(ctx context.Context, m *eventpb.WindowReady) ([]proto.Message, error) {
	task := m.GetTask()
	sha, want := task.GetTrack().GetSha256(), task.GetWindow().GetHash()
	rule := RuleOf(eventpb.PlanMode_PLAN_MODE_EXPLICIT, []*eventpb.Span{task.GetWindow().GetSpan()}, plan.HearingOf(h.Bundle.Encoder))
	file := &eventpb.Audio{Sha256: sha, BlobKey: event.AudioKey(sha), Uri: task.GetTrack().GetUri()}
	t, err := h.decode(ctx, file, rule, wanted{hash: want})
	if err != nil {
		return nil, classify(err)
	}
	if got := t.windows[0].pb.GetHash(); got != want {
		return nil, stage.Permanent(event.CodeInternal, fmt.Errorf("cutting window %s again gave %s: the track is now decoded otherwise", want, got))
	}
	return []proto.Message{m}, nil
}

// codes maps the faults of a file to the codes that outcomes name.
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
	case errors.Is(err, errOtherAudio):
		return stage.Permanent(event.CodeAudioMissing, fmt.Errorf("%w: submit it again", err))
	case source.Code(err) != "":
		return stage.Permanent(source.Code(err), err)
	case errors.Is(err, source.ErrHost): // tracks of other places need not wait for it
		return stage.Coded(event.CodeSourceUnreadable, err)
	case errors.Is(err, source.ErrUnavailable):
		return stage.Unavailable(err)
	case errors.Is(err, blob.ErrNotFound):
		return stage.Permanent(event.CodeAudioMissing, errors.New("the audio is no longer stored: submit it again"))
	}
	return err
}
