package store

import (
	"context"
	"database/sql"

	"github.com/larkstream/larkstream/shared/event"
)

const (
	// guessedWindows is what a job with plan all counts for until it is planned: a track of five minutes in windows of 25 s.
	guessedWindows = 12
	windowSeconds  = 25
)

func expectedWindows(j Job) int {
	switch j.Plan {
	case event.PlanExplicit:
		return max(1, len(j.Spans))
	case event.PlanAll:
		return guessedWindows
	}
	return 1
}

// expectedSeconds is how much audio the job counts for while it waits.
func expectedSeconds(j Job) float64 {
	if j.Plan != event.PlanExplicit {
		return windowSeconds * float64(expectedWindows(j))
	}
	var s float64
	for _, span := range j.Spans {
		s += span.EndS - span.StartS
	}
	return s
}

// laneOf is the lane of a job's options.
func laneOf(j Job) string {
	if j.Lane == event.LaneBulk {
		return event.LaneBulk
	}
	return event.LaneInteractive
}

// laneState is what a transaction that holds a lane's lock knows of it.
type laneState struct {
	name  string
	open  int // open jobs that Create made
	added int // of them, by this transaction
	// inKafka counts, by tenant and in all, the windows that the stages have not finished; nil until it is asked for.
	inKafka map[string]int
	used    int
	waiting bool // jobs wait
}

// lockLane takes the lane's lock, which the transaction holds until its end: no other gateway takes jobs into the lane or admits them meanwhile.
func lockLane(ctx context.Context, tx *tx, lane string) (*laneState, error) {
	s := &laneState{name: lane}
	err := tx.row(ctx, `SELECT n FROM counters WHERE name = ?`+tx.dialect.lock, openJobs(lane)).Scan(&s.open)
	return s, err
}

// The questions to the database that each transaction of a lane asks. A job that is not planned yet counts for the windows that are expected of it.
const (
	anyWaiting    = `SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE lane = ? AND ` + waiting + ` LIMIT 1) AS first`
	windowsInWork = `SELECT submitter, COALESCE(SUM(CASE WHEN planned_ms = 0 THEN expected_windows
		ELSE windows - (answered + failed + cancelled) / questions END), 0) FROM jobs WHERE lane = ? AND ` + admitted + ` GROUP BY submitter`
)

// load reads how full the lane is.
func (l *laneState) load(ctx context.Context, tx *tx) error {
	if l.inKafka != nil {
		return nil
	}
	var others int
	if err := tx.row(ctx, anyWaiting, l.name).Scan(&others); err != nil {
		return err
	}
	l.waiting, l.inKafka = others > 0, make(map[string]int)
	return tx.each(ctx, func(rows *sql.Rows) error {
		var tenant string
		var windows int
		err := rows.Scan(&tenant, &windows)
		l.take(tenant, windows)
		return err
	}, windowsInWork, l.name)
}

// take counts windows that go to Kafka.
func (l *laneState) take(tenant string, windows int) {
	if l.inKafka != nil {
		l.inKafka[tenant] += windows
		l.used += windows
	}
}

// hasRoom tells whether a new job of the lane need not wait: the lane and its tenant have room, and nobody waits already.
func (l *laneState) hasRoom(ctx context.Context, tx *tx, tenant string, opts CreateOptions) (bool, error) {
	if opts.MaxWindows <= 0 && opts.MaxTenantWindows <= 0 {
		return true, nil
	}
	if err := l.load(ctx, tx); err != nil {
		return false, err
	}
	return !l.waiting && below(l.used, opts.MaxWindows) && below(l.inKafka[tenant], opts.MaxTenantWindows), nil
}

// below tells whether n is below a limit; 0 = no limit.
func below(n, limit int) bool { return limit <= 0 || n < limit }

// wait notes that a tenant has jobs that wait. A newcomer has its first turn after all others.
func (l *laneState) wait(ctx context.Context, tx *tx, tenant string) error {
	l.waiting = true
	_, err := tx.exec(ctx, `INSERT INTO turns (lane, tenant, turn, deficit)
		VALUES (?, ?, (SELECT COALESCE(MAX(turn), 0) + 1 FROM turns WHERE lane = ?), 0.0) ON CONFLICT (lane, tenant) DO NOTHING`, l.name, tenant, l.name)
	return err
}
