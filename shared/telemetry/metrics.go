package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/larkstream/larkstream/shared/event"
)

// The metric sets below are made after Start, so that they belong to its meter provider; before Start,
// or without it, they record nothing. Their methods are safe for concurrent use.

// StageMetrics counts what a stage's runner does with records.
type StageMetrics struct {
	records, retries, dead, published, dropped, lost metric.Int64Counter
	duration, wait                                   metric.Float64Histogram
	paused, held                                     metric.Float64Gauge
	inFlightRecords, inFlightBytes                   metric.Int64UpDownCounter
}

// NewStageMetrics returns the instruments of a stage's runner.
func NewStageMetrics() *StageMetrics {
	i := newInstruments()
	return &StageMetrics{
		records:         i.counter(MetricStageRecords, unitRecords, "Records that a stage has finished, by result."),
		duration:        i.histogram(MetricStageDuration, unitSeconds, "Time that a stage worked on a record.", secondsBounds),
		wait:            i.histogram(MetricStageWait, unitSeconds, "Time from a record's writing, or on a retry topic from its due time, until a stage took it up.", secondsBounds),
		inFlightRecords: i.upDown(MetricStageInFlightRecords, unitRecords, "Records that a stage has in hand."),
		inFlightBytes:   i.upDown(MetricStageInFlightBytes, unitBytes, "Memory that the records in hand may need."),
		retries:         i.counter(MetricStageRetries, unitRecords, "Attempts that ended in a retry."),
		dead:            i.counter(MetricStageDead, unitRecords, "Records sent to the dead-letter topic, by code."),
		published:       i.counter(MetricStagePublished, unitRecords, "Records that a stage has published."),
		paused:          i.gauge(MetricStagePaused, "{state}", "1 while the stage pauses because something that it needs does not answer."),
		held:            i.gauge(MetricStageHeld, "{state}", "1 while a stage begins no record of a lane, because the next stage has too much unread."),
		lost:            i.counter(MetricStageLost, unitRecords, "Records that the broker deleted before the stage had handled them."),
		dropped:         i.counter(MetricEventsDropped, unitRecords, "Progress and token events dropped because a buffer was full."),
	}
}

// Handled counts a finished record. result is one of the Result values; d is the time worked on it.
func (m *StageMetrics) Handled(ctx context.Context, stage, topic, result string, d time.Duration) {
	at := metric.WithAttributes(AttrStage.String(stage), AttrTopic.String(topic), AttrLane.String(event.LaneOf(topic)), AttrResult.String(result))
	m.records.Add(ctx, 1, at)
	m.duration.Record(ctx, d.Seconds(), at)
}

// Waited notes how long a record waited until the stage took it up.
func (m *StageMetrics) Waited(ctx context.Context, stage, topic string, d time.Duration) {
	m.wait.Record(ctx, max(d, 0).Seconds(), metric.WithAttributes(AttrStage.String(stage), AttrTopic.String(topic), AttrLane.String(event.LaneOf(topic))))
}

// InFlight changes the number of records and bytes of a lane in hand.
func (m *StageMetrics) InFlight(ctx context.Context, stage, lane string, records, bytes int64) {
	at := metric.WithAttributes(AttrStage.String(stage), AttrLane.String(lane))
	m.inFlightRecords.Add(ctx, records, at)
	m.inFlightBytes.Add(ctx, bytes, at)
}

// Retried counts a retry; how is RetryInPlace or RetryTopic.
func (m *StageMetrics) Retried(ctx context.Context, stage, how string) {
	m.retries.Add(ctx, 1, metric.WithAttributes(AttrStage.String(stage), AttrReason.String(how)))
}

// Dead counts a dead letter by its error code.
func (m *StageMetrics) Dead(ctx context.Context, stage, code string) {
	m.dead.Add(ctx, 1, metric.WithAttributes(AttrStage.String(stage), AttrCode.String(code)))
}

// Published counts records written to a topic.
func (m *StageMetrics) Published(ctx context.Context, stage, topic string, n int) {
	m.published.Add(ctx, int64(n), metric.WithAttributes(AttrStage.String(stage), AttrTopic.String(topic)))
}

// Paused notes whether the stage pauses because something that it needs does not answer.
func (m *StageMetrics) Paused(ctx context.Context, stage string, paused bool) {
	v := 0.0
	if paused {
		v = 1
	}
	m.paused.Record(ctx, v, metric.WithAttributes(AttrStage.String(stage)))
}

// Held notes whether the stage begins no record of a lane, because the next stage has too much unread.
func (m *StageMetrics) Held(ctx context.Context, stage, lane string, held bool) {
	v := 0.0
	if held {
		v = 1
	}
	m.held.Record(ctx, v, metric.WithAttributes(AttrStage.String(stage), AttrLane.String(lane)))
}

// Lost counts records of a topic that the broker deleted before the stage had handled them.
func (m *StageMetrics) Lost(ctx context.Context, stage, topic string, n int64) {
	m.lost.Add(ctx, n, metric.WithAttributes(AttrStage.String(stage), AttrTopic.String(topic)))
}

// EventsDropped counts best-effort events that were not sent.
func (m *StageMetrics) EventsDropped(ctx context.Context, topic string, n int) {
	m.dropped.Add(ctx, int64(n), metric.WithAttributes(AttrTopic.String(topic)))
}

// CacheMetrics counts what the caches of embeddings, soft prompts and answers do, by tier.
type CacheMetrics struct {
	requests, writes, discarded metric.Int64Counter
	open                        metric.Float64Gauge
}

// NewCacheMetrics returns the instruments of the cache.
func NewCacheMetrics() *CacheMetrics {
	i := newInstruments()
	return &CacheMetrics{
		requests: i.counter(MetricCacheRequests, "{request}", "Cache look-ups by tier and result (hit, miss, error)."),
		writes:   i.counter(MetricCacheWrites, "{request}", "Cache writes by tier and result (ok, error)."),
		discarded: i.counter(MetricCacheDiscarded, "{value}",
			"Stored values that were deleted because they must not be used, by tier and reason (corrupt, other_key, shape, not_finite)."),
		open: i.gauge(MetricCacheOpen, "{state}", "1 while the tier is left alone after repeated errors."),
	}
}

// Request counts a look-up in a tier.
func (m *CacheMetrics) Request(ctx context.Context, tier, result string) {
	m.requests.Add(ctx, 1, metric.WithAttributes(AttrTier.String(tier), AttrResult.String(result)))
}

// Write counts a write to a tier.
func (m *CacheMetrics) Write(ctx context.Context, tier, result string) {
	m.writes.Add(ctx, 1, metric.WithAttributes(AttrTier.String(tier), AttrResult.String(result)))
}

// Discarded counts a stored value that was deleted because it must not be used; reason is one of the Discard values.
func (m *CacheMetrics) Discarded(ctx context.Context, tier, reason string) {
	m.discarded.Add(ctx, 1, metric.WithAttributes(AttrTier.String(tier), AttrReason.String(reason)))
}

// CircuitOpen notes whether a tier is left alone for the moment.
func (m *CacheMetrics) CircuitOpen(ctx context.Context, tier string, open bool) {
	v := 0.0
	if open {
		v = 1
	}
	m.open.Record(ctx, v, metric.WithAttributes(AttrTier.String(tier)))
}

// EngineMetrics measures the work of engines.
type EngineMetrics struct {
	runs                        metric.Int64Counter
	busy, audio                 metric.Float64Counter
	cost, rate, first, perToken metric.Float64Histogram
	usage, request              metric.Float64Histogram
	active                      metric.Int64UpDownCounter
}

// NewEngineMetrics returns the instruments of engines.
func NewEngineMetrics() *EngineMetrics {
	i := newInstruments()
	return &EngineMetrics{
		runs:     i.counter(MetricEncoderRuns, "{run}", "Windows that the encoder's engine has encoded."),
		busy:     i.seconds(MetricEngineBusy, "Time that engines have worked."),
		audio:    i.seconds(MetricEngineAudio, "Audio that engines have worked on."),
		cost:     i.histogram(MetricEngineCost, unitNone, "Engine seconds per second of audio.", costBounds),
		rate:     i.histogram(MetricEngineTokensRate, unitNone, "Output tokens per second of one answer.", tokenBounds),
		first:    i.histogram(MetricTimeToFirstToken, unitSeconds, "Time from the request to the first output token.", secondsBounds),
		perToken: i.histogram(MetricTimePerToken, unitSeconds, "Time per output token after the first.", secondsBounds),
		usage:    i.histogram(MetricTokenUsage, unitTokens, "Tokens of one request, by type (input, output).", tokenBounds),
		request:  i.histogram(MetricRequestDuration, unitSeconds, "Time of one answer, from the start of its work to its last token.", secondsBounds),
		active:   i.upDown(MetricEngineActive, "{request}", "Requests that an engine is working on."),
	}
}

// EncoderRun counts one run of the encoder's engine on one window. It moves only when a window is
// really encoded, never on a cache hit.
func (m *EngineMetrics) EncoderRun(ctx context.Context, engine string) {
	m.runs.Add(ctx, 1, metric.WithAttributes(AttrEngine.String(engine)))
}

// Work notes how long a stage's engine took for so many seconds of audio.
func (m *EngineMetrics) Work(ctx context.Context, stage, engine string, took time.Duration, audioSeconds float64) {
	at := metric.WithAttributes(AttrStage.String(stage), AttrEngine.String(engine))
	m.busy.Add(ctx, took.Seconds(), at)
	if audioSeconds <= 0 {
		return
	}
	m.audio.Add(ctx, audioSeconds, at)
	m.cost.Record(ctx, took.Seconds()/audioSeconds, at)
}

// Active changes the number of requests that a stage's engine is working on.
func (m *EngineMetrics) Active(ctx context.Context, stage, engine string, delta int) {
	m.active.Add(ctx, int64(delta), metric.WithAttributes(AttrStage.String(stage), AttrEngine.String(engine)))
}

// FirstToken notes the time from a request to its first output token.
func (m *EngineMetrics) FirstToken(ctx context.Context, model string, d time.Duration) {
	m.first.Record(ctx, d.Seconds(), metric.WithAttributes(genAI(model)...))
}

// Answered notes how long the work on one answer took; errorType is its outcome code if it failed, else empty.
func (m *EngineMetrics) Answered(ctx context.Context, model string, took time.Duration, errorType string) {
	at := genAI(model)
	if errorType != "" {
		at = append(at, AttrErrorType.String(errorType))
	}
	m.request.Record(ctx, max(took, 0).Seconds(), metric.WithAttributes(at...))
}

// Tokens notes the tokens of one answer and the time its decoding took, from the first token to the last.
func (m *EngineMetrics) Tokens(ctx context.Context, model string, prompt, output int, decode time.Duration) {
	at := genAI(model)
	m.usage.Record(ctx, float64(prompt), metric.WithAttributes(append(at, AttrGenAITokenType.String(GenAITokenIn))...))
	m.usage.Record(ctx, float64(output), metric.WithAttributes(append(at, AttrGenAITokenType.String(GenAITokenOut))...))
	if output < 2 || decode <= 0 {
		return
	}
	m.perToken.Record(ctx, decode.Seconds()/float64(output-1), metric.WithAttributes(at...))
	m.rate.Record(ctx, float64(output-1)/decode.Seconds(), metric.WithAttributes(at...))
}

// genAI returns the attributes that the gen_ai conventions ask of every metric, with no spare
// capacity, so that callers may append to it twice.
func genAI(model string) []attribute.KeyValue {
	return []attribute.KeyValue{
		AttrGenAIOperation.String(GenAIOperation), AttrGenAIProvider.String(GenAIProvider), AttrGenAIRequestModel.String(model),
	}
}

// LedgerMetrics counts what ends: outcomes and jobs.
type LedgerMetrics struct {
	outcomes, jobs, stray          metric.Int64Counter
	duration                       metric.Float64Histogram
	pending                        metric.Float64Gauge
	expected, recorded, imbalance  metric.Float64Gauge
	open, overdue, oldest, waiting metric.Float64Gauge
	republished, delivered         metric.Int64Counter
	tenants                        *tenantNames
	undelivered, undeliveredAge    metric.Float64Gauge
	dueAge, silent                 metric.Float64Gauge
}

// NewLedgerMetrics returns the instruments of the job store and the recorder.
func NewLedgerMetrics() *LedgerMetrics {
	i := newInstruments()
	return &LedgerMetrics{
		tenants:   newTenantNames(),
		outcomes:  i.counter(MetricLedgerOutcomes, "{outcome}", "Outcomes stored, by state, code and cache."),
		jobs:      i.counter(MetricLedgerJobs, "{job}", "Jobs by state: accepted, then how they ended."),
		duration:  i.histogram(MetricLedgerJobDuration, unitSeconds, "Time from a job's acceptance to its end.", secondsBounds),
		pending:   i.gauge(MetricLedgerPending, unitRecords, "Records in the outbox that are not yet published."),
		expected:  i.gauge(MetricLedgerExpected, "{outcome}", "Outcomes that the ended jobs must have: windows times questions."),
		recorded:  i.gauge(MetricLedgerRecorded, "{outcome}", "Outcomes that the ended jobs do have."),
		imbalance: i.gauge(MetricLedgerImbalance, "{job}", "Ended jobs that have not exactly the outcomes expected; anything but 0 is a fault."),
		stray:     i.counter(MetricLedgerStray, unitRecords, "Outcomes and plans that belong to no job of this store or to none of its windows, by reason."),
		open:      i.gauge(MetricLedgerOpen, "{job}", "Jobs that have not ended."),
		waiting:   i.gauge(MetricLedgerWaiting, "{job}", "Open jobs of a lane that wait in the job store, because enough windows of the lane are in Kafka."),
		overdue:   i.gauge(MetricLedgerOverdue, "{job}", "Open jobs whose deadline or cancel is so long ago that the gateway ends them."),
		oldest:    i.gauge(MetricLedgerOldest, unitSeconds, "Age of the oldest open job; 0 without open jobs."),
		republished: i.counter(MetricLedgerRepublished, "{job}",
			"Jobs published again because they did not come forward although no stage had anything left to do."),
		delivered:      i.counter(MetricWebhookAttempts, "{request}", "Attempts to deliver webhooks by result: delivered, failed (tried again), given_up."),
		undelivered:    i.gauge(MetricWebhookPending, "{message}", "Webhooks that are still to be delivered."),
		undeliveredAge: i.gauge(MetricWebhookOldest, unitSeconds, "Age of the oldest webhook that is still to be delivered; 0 without any."),
		dueAge: i.gauge(MetricWebhookDue, unitSeconds,
			"How long a webhook has been due, the longest of all, at an endpoint that takes what it is sent; 0 without any."),
		silent: i.gauge(MetricWebhookSilent, "{endpoint}",
			"Endpoints of webhooks that take nothing, by state: failing (the last delivery has failed) and disabled (by the gateway)."),
	}
}

// Outcome counts a stored outcome of a tenant; code is empty for an answer, cache is event.CacheHit, event.CacheMiss or empty.
func (m *LedgerMetrics) Outcome(ctx context.Context, tenant, state, code, cache string) {
	m.outcomes.Add(ctx, 1, metric.WithAttributes(AttrState.String(state), m.tenants.attr(tenant), AttrCode.String(code), AttrCache.String(cache)))
}

// JobAccepted counts a job of a tenant that was taken in.
func (m *LedgerMetrics) JobAccepted(ctx context.Context, tenant string) {
	m.jobs.Add(ctx, 1, metric.WithAttributes(AttrState.String("accepted"), m.tenants.attr(tenant)))
}

// JobEnded counts the end of a tenant's job and how long it took.
func (m *LedgerMetrics) JobEnded(ctx context.Context, tenant, state string, took time.Duration) {
	at := metric.WithAttributes(AttrState.String(state), m.tenants.attr(tenant))
	m.jobs.Add(ctx, 1, at)
	m.duration.Record(ctx, took.Seconds(), at)
}

// Backlog notes how many jobs are open, how many of them are overdue, and how old the oldest is.
func (m *LedgerMetrics) Backlog(ctx context.Context, open, overdue int, oldest time.Duration) {
	m.open.Record(ctx, float64(open))
	m.overdue.Record(ctx, float64(overdue))
	m.oldest.Record(ctx, oldest.Seconds())
}

// Waiting notes how many jobs of a lane wait in the job store.
func (m *LedgerMetrics) Waiting(ctx context.Context, lane string, jobs int) {
	m.waiting.Record(ctx, float64(jobs), metric.WithAttributes(AttrLane.String(lane)))
}

// Republished counts a job published again.
func (m *LedgerMetrics) Republished(ctx context.Context) { m.republished.Add(ctx, 1) }

// OutboxPending notes how many records wait to be published.
func (m *LedgerMetrics) OutboxPending(ctx context.Context, n int) {
	m.pending.Record(ctx, float64(n))
}

// Delivered counts an attempt to deliver a webhook; result is delivered, failed or given_up.
func (m *LedgerMetrics) Delivered(ctx context.Context, result string) {
	m.delivered.Add(ctx, 1, metric.WithAttributes(AttrResult.String(result)))
}

// WebhookBacklog is what is still to be delivered, and to whom nothing can be.
type WebhookBacklog struct {
	// Pending deliveries, as far as they are counted; Oldest is the age of the oldest, Due how long one has been due at an endpoint that takes what it is sent.
	Pending     int
	Oldest, Due time.Duration
	// Failing and Disabled count endpoints: whose last delivery has failed, and which the gateway has disabled.
	Failing, Disabled int
}

// WebhookBacklog notes what is still to be delivered.
func (m *LedgerMetrics) WebhookBacklog(ctx context.Context, b WebhookBacklog) {
	m.undelivered.Record(ctx, float64(b.Pending))
	m.undeliveredAge.Record(ctx, b.Oldest.Seconds())
	m.dueAge.Record(ctx, b.Due.Seconds())
	m.silent.Record(ctx, float64(b.Failing), metric.WithAttributes(AttrState.String("failing")))
	m.silent.Record(ctx, float64(b.Disabled), metric.WithAttributes(AttrState.String("disabled")))
}

// Ledger notes what the ended jobs must have and do have, and how many of them are out of balance.
func (m *LedgerMetrics) Ledger(ctx context.Context, expected, recorded, unbalanced int) {
	m.expected.Record(ctx, float64(expected))
	m.recorded.Record(ctx, float64(recorded))
	m.imbalance.Record(ctx, float64(unbalanced))
}

// Stray counts a record that could not be entered: reason is unknown_job or outside_plan.
func (m *LedgerMetrics) Stray(ctx context.Context, reason string) {
	m.stray.Add(ctx, 1, metric.WithAttributes(AttrReason.String(reason)))
}
