package sim

import "slices"

// Kinds of faults that befall single records.
const (
	killTaken     = "kill: record taken, not handled"
	killHandled   = "kill: record handled, nothing published"
	killUnsent    = "kill: before the outputs are sent"
	killUnacked   = "kill: outputs written, not acknowledged"
	killUnmarked  = "kill: outputs acknowledged, offset not committed"
	killPut       = "kill: object written, writer not told"
	killTx        = "kill: transaction committed, writer not told"
	slowHandler   = "handler slow"
	failHandler   = "handler fails"
	downHandler   = "dependency of a handler down"
	refuse        = "produce refused"
	loseAck       = "produce written, acknowledgement lost"
	loseRecord    = "produce acknowledged, record lost with the broker's power"
	duplicate     = "produce doubled"
	reorder       = "produce reordered"
	delay         = "produce delayed"
	newerRecord   = "record of a newer version"
	garbled       = "record of bytes that are no message"
	dropEvent     = "event dropped"
	latePlan      = "plan refused for a while"
	stray         = "outcome of a window that the plan does not have"
	slowObject    = "object store slow"
	failObject    = "object store fails"
	loseObjectAck = "object written, writer told of an error"
	killHook      = "kill: webhook delivered, not noted"
	slowHook      = "receiver of webhooks slow"
	failHook      = "receiver of webhooks fails"
	loseHook      = "webhook taken, sender told of an error"
	slowRedis     = "Redis slow"
	failRedis     = "Redis does not answer a request"
	failTx        = "transaction refused"
	loseTxAck     = "transaction committed, writer told of an error"
)

// recordFaults are all of them, in a fixed order.
func recordFaults() []string {
	return []string{
		killTaken, killHandled, killUnsent, killUnacked, killUnmarked, killPut, killTx, killHook, slowHandler, failHandler, downHandler,
		refuse, loseAck, loseRecord, duplicate, reorder, delay, newerRecord, garbled, dropEvent, latePlan, stray, slowObject, failObject, loseObjectAck,
		slowHook, failHook, loseHook, slowRedis, failRedis, failTx, loseTxAck,
	}
}

// Kinds of faults that befall a part of the installation for a while.
const (
	killProcess  = "kill: at any moment"
	crashLoop    = "kill: again and again as it starts"
	restart      = "rolling restart"
	hang         = "process hangs"
	away         = "no instance of a stage for a while"
	outage       = "what a stage needs is down"
	clockJump    = "clock of a machine wrong for a while"
	hooksDown    = "receiver of webhooks down"
	cutOff       = "connections to Kafka cut"
	noLeader     = "partition without leader"
	lost         = "acknowledged records lost by the broker"
	lostAnswers  = "broker writes and answers too late"
	noCommits    = "commits refused"
	evict        = "stored data evicted"
	objectsDown  = "object store down"
	objectsSlow  = "object store slow for a while"
	redisDown    = "Redis down"
	redisLost    = "Redis loses everything"
	databaseFull = "database: disk full"
	databaseRead = "database: read-only"
	databaseBusy = "database: busy"
)

func nemesisKinds() []string {
	return []string{
		killProcess, crashLoop, restart, hang, away, outage, clockJump, hooksDown, cutOff, noLeader, lost, lostAnswers, noCommits, evict, objectsDown, objectsSlow, redisDown, redisLost,
		databaseFull, databaseRead, databaseBusy,
	}
}

// Kinds are the names of all faults.
func Kinds() []string { return slices.Concat(recordFaults(), nemesisKinds()) }
