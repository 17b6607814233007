package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// AudioJobs returns a tenant's newest planned jobs about an audio file with their questions and windows, up to limit.
func (s *SQL) AudioJobs(ctx context.Context, tenant, sha256, plan string, limit int) (jobs []Job, err error) {
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		j, err := scanJob(rows)
		jobs = append(jobs, j)
		return err
	}, `SELECT `+jobColumns+` FROM jobs WHERE audio_sha256 = ? AND tenant = ? AND plan_mode = ? AND duration_s > 0 ORDER BY created_ms DESC, job_id DESC LIMIT ?`,
		sha256, tenant, plan, limit)
	for i := range jobs {
		if err == nil {
			err = s.fill(ctx, &jobs[i])
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading jobs about audio %.64q: %w", sha256, err)
	}
	return jobs, nil
}

// Answered is an answer that a job has: to which question, and about which window.
type Answered struct {
	Window, Index int
	Question      string
}

// AnsweredOf returns which questions of a job a model has answered.
func (s *SQL) AnsweredOf(ctx context.Context, jobID, modelDigest string) (all []Answered, err error) {
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		o, err := scanOutcome(rows)
		if err == nil && o.GetState() == eventpb.State_STATE_ANSWERED && o.GetModelDigest() == modelDigest {
			all = append(all, Answered{Window: int(o.GetWindow().GetIndex()), Index: int(o.GetQuestion().GetIndex()), Question: o.GetQuestion().GetText()})
		}
		return err
	}, `SELECT record FROM outcomes WHERE job_id = ? ORDER BY seq`, jobID)
	if err != nil {
		return nil, fmt.Errorf("reading answers of job %.64q: %w", jobID, err)
	}
	return all, nil
}

// Rates are means over what a model has done for a tenant of late. A mean of nothing is 0.
type Rates struct {
	// Windows were encoded, Answers decoded.
	Windows, Answers int
	// EncoderS per window; DecoderS and the tokens per answer.
	EncoderS, DecoderS, PromptTokens, OutputTokens float64
}

// Bounds of what rates are measured over.
const (
	ratesJobs     = 500
	ratesOutcomes = 5000
)

// MeasuredRates are means over the outcomes of a tenant's newest succeeded jobs, answered by a model in a form ("" = free text).
func (s *SQL) MeasuredRates(ctx context.Context, tenant, modelDigest, schema string) (Rates, error) {
	var r Rates
	err := s.queryRead(ctx, func(rows *sql.Rows) error {
		o, err := scanOutcome(rows)
		if err != nil || o.GetModelDigest() != modelDigest || o.GetState() != eventpb.State_STATE_ANSWERED || o.GetCombined() != nil {
			return err
		}
		if ms := o.GetTimings().GetEncodeMs(); o.GetQuestion().GetIndex() == 0 && o.GetCache() != eventpb.Cache_CACHE_HIT && ms > 0 {
			r.Windows++
			r.EncoderS += ms / 1000
		}
		if o.GetResponseSchema() == schema && o.GetAnswerCache() != eventpb.Cache_CACHE_HIT {
			r.Answers++
			r.DecoderS += (o.GetTimings().GetPrefillMs() + o.GetTimings().GetDecodeMs()) / 1000
			r.PromptTokens += float64(o.GetTokens().GetPrompt())
			r.OutputTokens += float64(o.GetTokens().GetOutput())
		}
		return nil
	}, `SELECT record FROM outcomes WHERE job_id IN (SELECT job_id FROM jobs WHERE tenant = ? AND state = ? ORDER BY created_ms DESC, job_id DESC LIMIT ?) LIMIT ?`,
		tenant, string(Succeeded), ratesJobs, ratesOutcomes)
	if err != nil {
		return Rates{}, fmt.Errorf("measuring rates: %w", err)
	}
	if n := float64(r.Windows); n > 0 {
		r.EncoderS /= n
	}
	if n := float64(r.Answers); n > 0 {
		r.DecoderS, r.PromptTokens, r.OutputTokens = r.DecoderS/n, r.PromptTokens/n, r.OutputTokens/n
	}
	return r, nil
}
