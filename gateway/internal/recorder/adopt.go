package recorder

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// adoptWait is when to look again for the job of an answer that came first.
const adoptWait = time.Second

// errSparse refuses a job whose questions are not numbered from 0 without gaps: the ledger counts them that way.
var errSparse = errors.New("questions are not numbered from 0 without gaps")

// adopt takes up a job that another producer has published. The gateway's own jobs are known and stay as they are.
func (r *Recorder) adopt(ctx context.Context, m *eventpb.Job) error {
	job := store.Job{
		ID: m.GetJobId(), State: store.Queued, TraceID: telemetry.TraceID(ctx), Created: time.UnixMilli(m.GetCreatedUnixMs()).UTC(),
		Audio: store.Audio{
			SHA256: m.GetAudio().GetSha256(), Key: m.GetAudio().GetBlobKey(), Name: m.GetAudio().GetName(), Bytes: m.GetAudio().GetSizeBytes(),
		},
		PlanMode: strings.ToLower(strings.TrimPrefix(m.GetPlan().String(), "PLAN_MODE_")), QuestionCount: len(m.GetQuestions()),
		Decode: store.Decode{
			MaxTokens: m.GetDecode().GetMaxTokens(), Temperature: m.GetDecode().GetTemperature(), TopP: m.GetDecode().GetTopP(), Seed: m.GetDecode().GetSeed(),
		},
		ResponseSchema: m.GetResponseSchema(),
		Questions:      make([]string, len(m.GetQuestions())),
	}
	for _, q := range m.GetQuestions() {
		if int(q.GetIndex()) >= len(job.Questions) {
			return stage.Permanent("internal", fmt.Errorf("adopting job %s: %w", job.ID, errSparse))
		}
		job.Questions[q.GetIndex()] = q.GetText()
	}
	for _, s := range m.GetSpans() {
		job.Spans = append(job.Spans, store.Span{StartS: s.GetStartS(), EndS: s.GetEndS()})
	}
	if ms := m.GetDeadlineUnixMs(); ms > 0 {
		job.Deadline = time.UnixMilli(ms).UTC()
	}
	return r.deps.Store.Adopt(ctx, job)
}

// unknown deals with an entry whose job is not in the store. Its job record came before it on the log, but it may not have been
// taken up yet: as long as there are such, the entry waits; else it is a stray.
func (r *Recorder) unknown(ctx context.Context, entry store.Entry) (store.Recorded, error) {
	if r.deps.JobsPending == nil {
		return store.Recorded{Unknown: true}, nil
	}
	pending, err := r.deps.JobsPending(ctx)
	if err != nil {
		return store.Recorded{}, fmt.Errorf("looking for the job of an answer: %w", err)
	}
	res, err := r.write(ctx, entry) // it may have been taken up in between
	if err == nil && res.Unknown && pending > 0 {
		return store.Recorded{}, stage.Later(adoptWait)
	}
	return res, err
}
