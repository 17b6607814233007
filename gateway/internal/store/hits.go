package store

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// hideHit tells a hit of a cache that another tenant has paid for as a miss: a hit would say that somebody else has asked about the track. A hit is a
// tenant's own if an earlier window of it had the same content; the hit of an answer, if that window was asked the same.
func (r *recording) hideHit(ctx context.Context, job *Job, o *eventpb.Outcome) (*eventpb.Outcome, error) {
	hit, answerHit := o.GetCache() == eventpb.Cache_CACHE_HIT, o.GetAnswerCache() == eventpb.Cache_CACHE_HIT
	if (!hit && !answerHit) || o.GetWindow().GetHash() == "" {
		return o, nil
	}
	several, err := r.severalTenants(ctx)
	if err != nil || !several {
		return o, err
	}
	if err := r.flush(ctx); err != nil {
		return nil, err
	}
	window := o.GetWindow()
	own := func(query string, args ...any) (bool, error) {
		var n int
		err := r.tx.row(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM plan_windows JOIN jobs ON jobs.job_id = plan_windows.job_id `+query+
			` WHERE plan_windows.hash = ? AND jobs.tenant = ? AND (plan_windows.job_id <> ? OR plan_windows.idx < ?) LIMIT 1) AS own`,
			append(args, window.GetHash(), job.Tenant, job.ID, window.GetIndex())...).Scan(&n)
		return n > 0, err
	}
	copied := proto.CloneOf(o)
	if hit {
		mine, err := own(``)
		if err != nil {
			return nil, err
		}
		if !mine {
			copied.Cache = eventpb.Cache_CACHE_MISS
		}
	}
	if answerHit {
		mine, err := own(`JOIN questions ON questions.job_id = plan_windows.job_id AND questions.text = ?`, o.GetQuestion().GetText())
		if err != nil {
			return nil, err
		}
		if !mine {
			copied.AnswerCache = eventpb.Cache_CACHE_MISS
		}
	}
	return copied, nil
}

// severalTenants tells whether there is anybody to hide something from.
func (r *recording) severalTenants(ctx context.Context) (bool, error) {
	if r.tenants == 0 {
		if err := r.tx.row(ctx, `SELECT COUNT(*) FROM tenants`).Scan(&r.tenants); err != nil {
			return false, err
		}
	}
	return r.tenants > 1, nil
}
