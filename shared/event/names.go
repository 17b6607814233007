package event

// Names of the stages, as senders of records and in progress events.
const (
	StageChunker   = "chunker"
	StageEncoder   = "encoder"
	StageProjector = "projector"
	StageLLM       = "llm"
	StageRecorder  = "recorder"
)

// WorkStages are the stages that work on a job's windows and report progress, in the order in which a window passes them.
func WorkStages() []string { return []string{StageChunker, StageEncoder, StageProjector, StageLLM} }

// Stages are the names of the consumers that retry records; each has its own retry topics.
func Stages() []string { return append(WorkStages(), StageRecorder) }

// Statuses of a window in a stage, as progress events tell them.
const (
	StatusStarted  = "started"
	StatusWaiting  = "waiting" // the stage pauses: something that it needs does not answer, or a disk is full
	StatusRetrying = "retrying"
	StatusDone     = "done"
	StatusSkipped  = "skipped" // the stage had nothing to do: the embedding was cached
)

// States of a job. The last four are terminal.
const (
	JobQueued     = "queued"     // accepted, not planned yet
	JobRunning    = "running"    // its windows are known
	JobCancelling = "cancelling" // cancel asked for, outcomes still coming in
	JobSucceeded  = "succeeded"  // every question answered
	JobPartial    = "partial"    // some questions answered, others failed or expired
	JobFailed     = "failed"     // no question answered
	JobCancelled  = "cancelled"  // ended by the user's cancel
)

// Terminal tells whether a job in this state has ended.
func Terminal(jobState string) bool {
	return jobState == JobSucceeded || jobState == JobPartial || jobState == JobFailed || jobState == JobCancelled
}

// States of an outcome, all terminal.
const (
	OutcomeAnswered  = "answered"
	OutcomeFailed    = "failed"
	OutcomeCancelled = "cancelled" // by the user's cancel or the job's deadline
)

// What the cache of embeddings had for a window.
const (
	CacheHit  = "hit"
	CacheMiss = "miss"
)

// Kinds of control records.
const (
	// ControlCancel cancels the job.
	ControlCancel = "cancel"
	// ControlWatch says that somebody streams the job, see WatchLease.
	ControlWatch = "watch"
)
