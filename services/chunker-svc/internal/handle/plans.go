package handle

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/audio/plan"
	"github.com/larkstream/larkstream/engine/mir/check"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/worker"
)

// maxPlanBytes bounds a stored plan: the largest record, and what was measured of its windows.
const maxPlanBytes = event.MaxValueBytes + 128*maxMeasured

// storedJobID stands in the job id of stored plans, which belong to no job.
const storedJobID = "stored-plan"

// track is a planned track.
type track struct {
	sha256  string
	seconds float64
	// warnings are the faults of the file, and missing the seconds that it is known to lack.
	warnings []*eventpb.Warning
	missing  float64
	windows  []*knownWindow
}

func (t *track) pb() *eventpb.Track {
	return &eventpb.Track{Sha256: t.sha256, DurationS: t.seconds, Warnings: t.warnings, MissingS: t.missing}
}

// damage says what of the track was not heard as it was written, "" if all was.
func (t *track) damage() string {
	var all []string
	for _, w := range t.warnings {
		if audio.WarningCode(w.GetCode()).Damage() {
			all = append(all, w.GetCode()+": "+w.GetMessage())
		}
	}
	return strings.Join(all, "; ")
}

// knownWindow is a window and what the cache says of it.
type knownWindow struct {
	pb *eventpb.Window
	// frames and width of its embedding; 0 if it has to be encoded.
	frames, width int
}

// planKey names the windows of an audio file under a rule, so that a repeated question skips decoding and measuring. Plans with measured windows have
// keys of their own: a plan from before measuring was switched on, or by other estimators, does not serve. Nor does one from before ffmpeg was installed, by
// which an mp3 is decoded better.
func (h *Handler) planKey(sha256 string, rule plan.Rule) string {
	key := "plan/v3/" + sha256 + "/" + rule.Hash()
	if !h.Cutter.ByFFmpeg() {
		key += "+go"
	}
	if h.Measure != nil {
		key += "+mir" + check.Revision
	}
	return key
}

// loadPlan returns a stored plan, nil if there is none that can be used.
func (h *Handler) loadPlan(ctx context.Context, key string) (*track, error) {
	raw, err := h.Blobs.GetBytes(ctx, key, maxPlanBytes)
	if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrTooLarge) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("loading plan: %w", err)
	}
	stored := &eventpb.JobPlan{}
	if proto.Unmarshal(raw, stored) != nil || event.Validate(stored) != nil {
		return nil, nil // damaged: the track is decoded again and the plan written anew
	}
	from := stored.GetTrack()
	t := &track{sha256: from.GetSha256(), seconds: from.GetDurationS(), warnings: from.GetWarnings(), missing: from.GetMissingS()}
	for _, w := range stored.GetWindows() {
		w.HeardS = h.heard(w.GetSamples()) // of this bundle's encoder
		t.windows = append(t.windows, &knownWindow{pb: w})
	}
	return t, nil
}

func (h *Handler) storePlan(ctx context.Context, key string, t *track) error {
	stored := &eventpb.JobPlan{JobId: storedJobID, Track: t.pb(), Windows: t.pbWindows(), Questions: 1}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(stored)
	if err != nil {
		return fmt.Errorf("storing plan: %w", err)
	}
	return h.Blobs.PutBytes(ctx, key, raw)
}

func (t *track) pbWindows() []*eventpb.Window {
	out := make([]*eventpb.Window, len(t.windows))
	for i, w := range t.windows {
		out[i] = w.pb
	}
	return out
}

// unmeasured are the windows for the job's plan on the log, where nobody reads what was measured and the largest plan fills a record.
func (t *track) unmeasured() []*eventpb.Window {
	out := t.pbWindows()
	for i, w := range out {
		if w.GetMeasured() != nil {
			out[i] = proto.CloneOf(w)
			out[i].Measured = nil
		}
	}
	return out
}

// lookUp asks the cache for every window's embedding. complete tells whether each window has an embedding or, if not, its PCM.
func (h *Handler) lookUp(ctx context.Context, t *track) (complete bool, err error) {
	for _, w := range t.windows {
		e, err := h.Cache.Shape(ctx, worker.Scoped(ctx, h.Bundle.EmbeddingKey(w.pb.GetHash())), cache.Shape{Cols: h.Bundle.Encoder.Width})
		switch {
		case err == nil:
			w.frames, w.width = e.Rows, e.Cols
			continue
		case !errors.Is(err, cache.ErrMiss):
			return false, fmt.Errorf("looking for embedding: %w", err)
		}
		there, err := h.Blobs.Exists(ctx, w.pb.GetBlobKey())
		if err != nil || !there {
			return false, err
		}
	}
	return true, nil
}

// outputs are the plan first, then the windows in order.
func (h *Handler) outputs(ctx context.Context, job *eventpb.Job, t *track, ms float64) []proto.Message {
	of := t.pb()
	of.Uri = job.GetAudio().GetUri() // of this job: the stored plan is every job's
	out := []proto.Message{&eventpb.JobPlan{
		JobId: job.GetJobId(), Track: of, Windows: t.unmeasured(), Questions: uint32(len(job.GetQuestions())),
	}}
	for _, w := range t.windows {
		out = append(out, h.ready(ctx, job, of, w, ms))
	}
	return out
}

// ready is the window's message to the next stage: the encoder, or the projector if the embedding is known.
func (h *Handler) ready(ctx context.Context, job *eventpb.Job, t *eventpb.Track, w *knownWindow, ms float64) proto.Message {
	task := event.NewTask(job, t, w.pb)
	task.ModelDigest, task.Cache, task.Timings = h.Bundle.Digest, eventpb.Cache_CACHE_MISS, &eventpb.Timings{ChunkMs: ms}
	if w.frames == 0 {
		return &eventpb.WindowReady{Task: task}
	}
	task.Cache = eventpb.Cache_CACHE_HIT
	h.Report(ctx, task, &eventpb.Progress{Stage: event.StageEncoder, Status: event.StatusSkipped})
	return &eventpb.EmbeddingReady{
		Task: task, Key: worker.Scoped(ctx, h.Bundle.EmbeddingKey(w.pb.GetHash())), Frames: uint32(w.frames), Width: uint32(w.width),
	}
}

var modes = map[eventpb.PlanMode]plan.Mode{
	eventpb.PlanMode_PLAN_MODE_AUTO:     plan.Auto,
	eventpb.PlanMode_PLAN_MODE_ALL:      plan.All,
	eventpb.PlanMode_PLAN_MODE_EXPLICIT: plan.Explicit,
}

// RuleOf is the rule of a job for an encoder.
func RuleOf(mode eventpb.PlanMode, spans []*eventpb.Span, h plan.Hearing) plan.Rule {
	list := make([]plan.Span, len(spans))
	for i, s := range spans {
		list[i] = plan.Span{StartS: s.GetStartS(), EndS: s.GetEndS()}
	}
	return plan.NewRule(modes[mode], list, h)
}

func spanOf(r plan.Range, rate int) *eventpb.Span {
	s := r.Span(rate)
	return &eventpb.Span{StartS: s.StartS, EndS: s.EndS}
}
