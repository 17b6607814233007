package telemetry

import (
	"go.opentelemetry.io/otel/attribute"
)

// ScopeName is the instrumentation scope of every span and metric of this system.
const ScopeName = "github.com/larkstream/larkstream"

// Service names, as they stand in service.name.
const (
	ServiceGateway   = "gateway"
	ServiceChunker   = "chunker-svc"
	ServiceEncoder   = "encoder-svc"
	ServiceProjector = "projector-svc"
	ServiceLLM       = "llm-svc"
	ServiceCLI       = "lark"
)

// Span names. A stage's span on a record is SpanProcess + its topic; the span that sends records to a topic is SpanSend + the topic.
const (
	SpanProcess = "process "
	SpanSend    = "send "
	// SpanSubmit is the gateway's span on the request that submits a job.
	SpanSubmit = "POST /v1/jobs"
	SpanIndex  = "start item" // of a run

	SpanDecode  = "decode audio"
	SpanEncode  = "encode window"
	SpanProject = "project embedding"
	SpanPrefill = "prefill"
	// SpanAnswer + the model's name is the span of one question.
	SpanAnswer = GenAIOperation + " "
	// SpanGenerate is the decoding of one answer, token by token.
	SpanGenerate = "generate tokens"
	SpanRecord   = "record outcome"
	SpanLoad     = "load tensor"
)

// Span attribute keys of our own.
const (
	AttrJobID       = attribute.Key("lark.job.id")
	AttrTenant      = attribute.Key("lark.tenant")
	AttrTrackSHA256 = attribute.Key("lark.track.sha256")
	AttrWindowHash  = attribute.Key("lark.window.hash")
	AttrWindowIndex = attribute.Key("lark.window.index")
	AttrWindows     = attribute.Key("lark.windows")
	AttrQuestion    = attribute.Key("lark.question.index")
	AttrCache       = attribute.Key("lark.cache")
	AttrStage       = attribute.Key("lark.stage")
	AttrTopic       = attribute.Key("lark.topic")
	AttrLane        = attribute.Key("lark.lane")
	// AttrRetry tells a topic on which records wait for another attempt from one that carries work.
	AttrRetry   = attribute.Key("lark.retry")
	AttrResult  = attribute.Key("lark.result")
	AttrTier    = attribute.Key("lark.cache.tier")
	AttrEngine  = attribute.Key("lark.engine")
	AttrState   = attribute.Key("lark.state")
	AttrCode    = attribute.Key("lark.code")
	AttrReason  = attribute.Key("lark.reason")
	AttrAttempt = attribute.Key("lark.attempt")
	AttrFrames  = attribute.Key("lark.frames")
	AttrWidth   = attribute.Key("lark.width")
	// AttrAudioSeconds is the length of audio that a step worked on.
	AttrAudioSeconds = attribute.Key("lark.audio.seconds")
	AttrDecoder      = attribute.Key("lark.decoder")
	AttrSampleRate   = attribute.Key("lark.audio.sample_rate")
	AttrChannels     = attribute.Key("lark.audio.channels")
	// AttrWait is how long a record had waited when a stage took it up, in seconds, see MetricStageWait.
	AttrWait = attribute.Key("lark.wait.seconds")
	// AttrBranches is how many records of a span began traces of their own.
	AttrBranches = attribute.Key("lark.trace.branches")
)

// AttrHTTPRoute is of the OpenTelemetry semantic conventions for HTTP.
const AttrHTTPRoute = attribute.Key("http.route")

// Messaging attributes of the OpenTelemetry semantic conventions.
// https://opentelemetry.io/docs/specs/semconv/messaging/kafka/
const (
	AttrMessagingSystem      = attribute.Key("messaging.system")
	AttrMessagingDestination = attribute.Key("messaging.destination.name")
	AttrMessagingPartition   = attribute.Key("messaging.destination.partition.id") // a string
	AttrMessagingOperation   = attribute.Key("messaging.operation.name")
	AttrMessagingType        = attribute.Key("messaging.operation.type")
	AttrMessagingGroup       = attribute.Key("messaging.consumer.group.name")
	AttrMessagingOffset      = attribute.Key("messaging.kafka.offset")
	// AttrMessagingBatch is how many records one send takes; absent for one.
	AttrMessagingBatch = attribute.Key("messaging.batch.message_count")
)

// Generative AI attributes, not in the Go semconv package.
// https://opentelemetry.io/docs/specs/semconv/gen-ai/
const (
	AttrGenAIOperation     = attribute.Key("gen_ai.operation.name")
	AttrGenAIProvider      = attribute.Key("gen_ai.provider.name")
	AttrGenAIRequestModel  = attribute.Key("gen_ai.request.model")
	AttrGenAIResponseModel = attribute.Key("gen_ai.response.model")
	AttrGenAIMaxTokens     = attribute.Key("gen_ai.request.max_tokens")
	AttrGenAITemperature   = attribute.Key("gen_ai.request.temperature")
	AttrGenAITopP          = attribute.Key("gen_ai.request.top_p")
	AttrGenAISeed          = attribute.Key("gen_ai.request.seed")
	AttrGenAIInputTokens   = attribute.Key("gen_ai.usage.input_tokens")
	AttrGenAIOutputTokens  = attribute.Key("gen_ai.usage.output_tokens")
	AttrGenAIFinishReasons = attribute.Key("gen_ai.response.finish_reasons")
	AttrGenAITokenType     = attribute.Key("gen_ai.token.type")
	// AttrTimeToFirstToken is in seconds, on the span of one answer.
	AttrTimeToFirstToken = attribute.Key("gen_ai.response.time_to_first_token")
	AttrErrorType        = attribute.Key("error.type")
)

// Values of attributes.
const (
	MessagingKafka  = "kafka"
	MessagingSend   = "send"
	MessagingHandle = "process"
	GenAIOperation  = "generate_content"
	GenAIProvider   = "larkstream"
	GenAITokenIn    = "input"
	GenAITokenOut   = "output"
	ResultOK        = "ok"
	ResultError     = "error"
	ResultHit       = "hit"
	ResultMiss      = "miss"
	ResultDead      = "dead"
	ResultRetried   = "retried"
	ResultLater     = "later"
	ResultCancelled = "cancelled"
	ResultExpired   = "expired"
	ResultGarbage   = "undecodable"
	TierRedis       = "redis"
	TierBlob        = "blob"
	// TierAnswer is the answer cache, which lies in the object store too.
	TierAnswer       = "answer"
	RetryInPlace     = "in_place"
	RetryTopic       = "topic"
	DiscardCorrupt   = "corrupt"
	DiscardKey       = "other_key"
	DiscardShape     = "shape"
	DiscardNotFinite = "not_finite"
)

// Metric names, as OpenTelemetry has them. Prometheus sees dots as underscores, with the unit and
// _total appended: lark.encoder.runs is lark_encoder_runs_total.
const (
	MetricStageRecords         = "lark.stage.records"
	MetricStageDuration        = "lark.stage.duration"
	MetricStageWait            = "lark.stage.wait"
	MetricStageInFlightRecords = "lark.stage.in_flight.records"
	MetricStageInFlightBytes   = "lark.stage.in_flight.bytes"
	MetricStageRetries         = "lark.stage.retries"
	MetricStageDead            = "lark.stage.dead"
	MetricStagePublished       = "lark.stage.published"
	MetricStagePaused          = "lark.stage.paused"
	MetricStageLost            = "lark.stage.lost"
	MetricStageMembers         = "lark.stage.members"
	MetricBacklogRecords       = "lark.backlog.records"
	MetricBacklogAge           = "lark.backlog.age"
	MetricStageHeld            = "lark.stage.held"
	MetricEventsDropped        = "lark.events.dropped"

	MetricCacheRequests  = "lark.cache.requests"
	MetricCacheWrites    = "lark.cache.writes"
	MetricCacheDiscarded = "lark.cache.discarded"
	MetricCacheOpen      = "lark.cache.circuit_open"

	MetricEncoderRuns       = "lark.encoder.runs"
	MetricEngineBusy        = "lark.engine.busy"
	MetricEngineAudio       = "lark.engine.audio"
	MetricEngineCost        = "lark.engine.seconds_per_audio_second"
	MetricEngineTokensRate  = "lark.engine.tokens_per_second"       //nolint:gosec // tokens of text
	MetricTimeToFirstToken  = "gen_ai.server.time_to_first_token"   //nolint:gosec // tokens of text
	MetricTimePerToken      = "gen_ai.server.time_per_output_token" //nolint:gosec // tokens of text
	MetricRequestDuration   = "gen_ai.server.request.duration"
	MetricTokenUsage        = "gen_ai.client.token.usage" //nolint:gosec // tokens of text
	MetricEngineActive      = "lark.engine.active"
	MetricLedgerOutcomes    = "lark.outcomes"
	MetricLedgerJobs        = "lark.jobs"
	MetricLedgerJobDuration = "lark.job.duration"
	MetricLedgerPending     = "lark.outbox.pending"
	MetricLedgerExpected    = "lark.ledger.expected"
	MetricLedgerRecorded    = "lark.ledger.recorded"
	MetricLedgerImbalance   = "lark.ledger.imbalance"
	MetricLedgerStray       = "lark.ledger.stray"
	MetricLedgerOpen        = "lark.jobs.open"
	MetricLedgerWaiting     = "lark.jobs.waiting"
	MetricLedgerOverdue     = "lark.jobs.overdue"
	MetricLedgerOldest      = "lark.jobs.oldest_age"
	MetricLedgerRepublished = "lark.jobs.republished"

	MetricWebhookAttempts = "lark.webhook.attempts"
	MetricWebhookPending  = "lark.webhook.pending"
	MetricWebhookOldest   = "lark.webhook.oldest_age"
	MetricWebhookDue      = "lark.webhook.due_age"
	MetricWebhookSilent   = "lark.webhook.endpoints"
)

// Units, in UCUM as OpenTelemetry asks.
const (
	unitSeconds = "s"
	unitBytes   = "By"
	unitRecords = "{record}"
	unitTokens  = "{token}"
	unitNone    = "1"
)
