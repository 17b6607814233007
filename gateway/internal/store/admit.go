package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
)

// waiting selects the jobs whose record has not gone to the outbox yet, admitted those of Create whose record has.
const (
	waiting  = `ended_ms = 0 AND admitted_ms = 0`
	admitted = `ended_ms = 0 AND admitted_ms > 0 AND NOT adopted`
)

// quantum is how many seconds of audio a tenant of weight 1 may have admitted in one turn: a window. A larger job takes the turns of several circles.
const quantum = windowSeconds

// Admission says which jobs Admit may take.
type Admission struct {
	Lane string
	// MaxWindows is how many windows of the lane may be in Kafka, Limit how many jobs are taken at most.
	MaxWindows, Limit int
	// MaxTenantWindows is how many windows of one tenant may be in Kafka; 0 = no bound of its own.
	MaxTenantWindows int
	// Record makes the record of a job.
	Record func(Job) (event.Record, error)
}

// Admit puts the records of jobs that wait in the lane into the outbox while the lane has room, and returns how many it took. Tenants take turns by
// deficit round robin on seconds of audio times their weight (Shreedhar and Varghese, SIGCOMM 1995), each tenant's oldest job first; the state of the turns is in the
// database, so that any number of gateways admit as one. A job past its deadline, or too late to begin, is passed over: the reaper ends it. A job of which no record can be
// made is taken all the same, without a record: the reaper finds it idle and ends it.
func (s *SQL) Admit(ctx context.Context, a Admission) (n int, err error) {
	err = s.inTx(ctx, func(tx *tx) error {
		lane, err := lockLane(ctx, tx, a.Lane)
		if err != nil {
			return err
		}
		if err := lane.load(ctx, tx); err != nil {
			return err
		}
		r := &round{store: s, tx: tx, Admission: a, lane: lane}
		if err := r.run(ctx); err != nil {
			return err
		}
		n = r.taken
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("admitting %s jobs: %w", a.Lane, err)
	}
	return n, nil
}

// round is one transaction that admits jobs.
type round struct {
	Admission
	store *SQL
	tx    *tx
	lane  *laneState
	taken int
	// ids are the jobs that were taken and are not written yet, in the order of their turns.
	ids []string
}

// turn is a tenant that has jobs that wait.
type turn struct {
	tenant  string
	turn    int64
	deficit float64
	weight  float64 // its share beside the others'
	head    *head   // its oldest job; nil until it is read
	behind  []head  // jobs behind it that were read with it
	changed bool
}

// head is a job that is next.
type head struct {
	id      string
	windows int
	seconds float64
}

func (r *round) full() bool { return r.taken >= r.Limit || r.lane.used >= r.MaxWindows }

// run gives turns until the lane is full or nobody waits who may have more in Kafka.
func (r *round) run(ctx context.Context) error {
	circle, err := r.turns(ctx)
	if err != nil {
		return err
	}
	all := circle
	for len(circle) > 0 && !r.full() {
		if circle, err = r.ready(ctx, circle); err != nil || len(circle) == 0 {
			break
		}
		r.topUp(circle)
		t := circle[0]
		if err = r.serve(ctx, t); err != nil {
			break
		}
		if cutShort := r.full() && t.head != nil && t.deficit >= t.head.seconds; !cutShort && t.head != nil {
			t.turn, t.changed = circle[len(circle)-1].turn+1, true
			circle = append(circle[1:], t)
		}
	}
	if err == nil {
		err = r.write(ctx)
	}
	for _, t := range all {
		if err == nil && t.changed {
			_, err = r.tx.exec(ctx, `UPDATE turns SET turn = ?, deficit = ? WHERE lane = ? AND tenant = ?`, t.turn, t.deficit, r.Lane, t.tenant)
		}
	}
	return err
}

// turns are the tenants whose jobs wait, in the order of their turns.
func (r *round) turns(ctx context.Context) (out []*turn, err error) {
	err = r.tx.each(ctx, func(rows *sql.Rows) error {
		t, raw := &turn{weight: 1}, ""
		out = append(out, t)
		if err := rows.Scan(&t.tenant, &t.turn, &t.deficit, &raw); err != nil {
			return err
		}
		var limits client.TenantLimits
		if err := json.Unmarshal([]byte(raw), &limits); err != nil {
			return err
		}
		if limits.Weight > 0 {
			t.weight = max(limits.Weight, 1e-3)
		}
		return nil
	}, `SELECT turns.tenant, turns.turn, turns.deficit, COALESCE(tenants.limits, '{}') FROM turns LEFT JOIN tenants ON tenants.tenant = turns.tenant
		WHERE turns.lane = ? ORDER BY turns.turn, turns.tenant`, r.Lane)
	return out, err
}

// ready drops those from the front of the circle who have no job that waits, or as much in Kafka as they may have.
func (r *round) ready(ctx context.Context, circle []*turn) ([]*turn, error) {
	for len(circle) > 0 {
		t := circle[0]
		if !below(r.lane.inKafka[t.tenant], r.MaxTenantWindows) {
			circle = circle[1:]
			continue
		}
		if t.head == nil {
			if err := r.next(ctx, t); err != nil {
				return nil, err
			}
		}
		if t.head != nil {
			return circle, nil
		}
		circle = circle[1:]
	}
	return nil, nil
}

// headsAtOnce is how many jobs of a tenant are read at a time.
const headsAtOnce = 64

// next reads the tenant's oldest job that may be admitted. A tenant that has none leaves the circle.
func (r *round) next(ctx context.Context, t *turn) error {
	if len(t.behind) == 0 {
		if err := r.write(ctx); err != nil { // what is taken no longer waits
			return err
		}
		room := min(headsAtOnce, max(1, r.Limit-r.taken), max(1, r.MaxWindows-r.lane.used))
		now := r.store.now()
		err := r.tx.each(ctx, func(rows *sql.Rows) error {
			var h head
			err := rows.Scan(&h.id, &h.windows, &h.seconds)
			t.behind = append(t.behind, h)
			return err
		}, nextWaiting+r.tx.dialect.claim, r.Lane, t.tenant, millis(now), millis(now), room)
		if err != nil {
			return err
		}
	}
	if len(t.behind) == 0 {
		t.head, t.deficit, t.changed = nil, 0, false
		return r.leave(ctx, t.tenant)
	}
	t.head, t.behind = &t.behind[0], t.behind[1:]
	return nil
}

// The questions to the database that each admission asks.
const (
	nextWaiting = `SELECT job_id, expected_windows, expected_s FROM jobs WHERE lane = ? AND submitter = ? AND ` + waiting + `
		AND given_up_ms = 0 AND (deadline_ms = 0 OR deadline_ms > ?) AND (start_by_ms = 0 OR start_by_ms > ?) ORDER BY job_id LIMIT ?`
	anyOfTenant = `SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE lane = ? AND submitter = ? AND ` + waiting + ` LIMIT 1) AS first`
)

// leave takes a tenant out of the circle; one whose jobs are only held back, by a deadline or another transaction, stays and gives up its deficit.
func (r *round) leave(ctx context.Context, tenant string) error {
	var left int
	if err := r.tx.row(ctx, anyOfTenant, r.Lane, tenant).Scan(&left); err != nil {
		return err
	}
	query := `DELETE FROM turns WHERE lane = ? AND tenant = ?`
	if left > 0 {
		query = `UPDATE turns SET deficit = 0 WHERE lane = ? AND tenant = ?`
	}
	_, err := r.tx.exec(ctx, query, r.Lane, tenant)
	return err
}

// topUp begins the turn of the first of the circle, who gets a quantum. A circle of one whose job is larger gets as many as it takes.
func (r *round) topUp(circle []*turn) {
	t := circle[0]
	if t.deficit >= t.head.seconds {
		return // its turn was cut short when the lane was full
	}
	share := quantum * t.weight
	rounds := 1.0
	if len(circle) == 1 {
		rounds = math.Ceil((t.head.seconds - t.deficit) / share)
	}
	t.deficit, t.changed = t.deficit+rounds*share, true
}

// serve admits jobs of a tenant for as long as its deficit and the lane allow.
func (r *round) serve(ctx context.Context, t *turn) error {
	for t.head != nil && t.deficit >= t.head.seconds && !r.full() {
		if !below(r.lane.inKafka[t.tenant], r.MaxTenantWindows) {
			return nil
		}
		r.ids = append(r.ids, t.head.id)
		t.deficit, t.changed = t.deficit-t.head.seconds, true
		r.taken++
		r.lane.take(t.tenant, t.head.windows)
		if err := r.next(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// write marks the jobs that were taken as admitted, and puts their records into the outbox in the order in which they were taken.
func (r *round) write(ctx context.Context) error {
	now := r.store.now()
	for some := range slices.Chunk(r.ids, maxIDs) {
		in, ids := r.tx.dialect.oneOf("job_id", some)
		jobs := make(map[string]*Job, len(some))
		err := r.tx.each(ctx, func(rows *sql.Rows) error {
			job, err := scanJob(rows)
			jobs[job.ID] = &job
			return err
		}, `UPDATE jobs SET admitted_ms = ?, active_ms = ? WHERE `+in+` RETURNING `+jobColumns, append([]any{millis(now), millis(now)}, ids...)...)
		if err != nil {
			return err
		}
		err = r.tx.each(ctx, func(rows *sql.Rows) error {
			var id, text string
			err := rows.Scan(&id, &text)
			if job := jobs[id]; err == nil && job != nil {
				job.Questions = append(job.Questions, text)
			}
			return err
		}, `SELECT job_id, text FROM questions WHERE `+in+` ORDER BY job_id, idx`, ids...)
		if err != nil {
			return err
		}
		var records []event.Record
		for _, id := range some {
			if job := jobs[id]; job != nil {
				if rec, err := r.Record(*job); err == nil { // the one who makes records tells of a fault; the reaper ends the job
					records = append(records, rec)
				}
			}
		}
		if err := enqueue(ctx, r.tx, records, now); err != nil {
			return err
		}
	}
	r.ids = nil
	return nil
}

// howManyWait is the lane's open jobs without those that are admitted, which are as few as the windows that may be in Kafka: the jobs that wait are not counted one by one.
// It is null if none waits. They are counted by tenant because SQLite would otherwise read all open jobs.
const howManyWait = `SELECT CASE WHEN EXISTS (SELECT 1 FROM jobs WHERE lane = ? AND ` + waiting + `)
	THEN (SELECT n FROM counters WHERE name = ?)
		- (SELECT COALESCE(SUM(jobs), 0) FROM (SELECT COUNT(*) AS jobs FROM jobs WHERE lane = ? AND ` + admitted + ` GROUP BY submitter) AS tenants) END`

// Waiting tells how many jobs of a lane wait, in a time that does not depend on how many they are.
func (s *SQL) Waiting(ctx context.Context, lane string) (int, error) {
	var n sql.NullInt64
	if err := s.rowRead(ctx, howManyWait, lane, openJobs(lane), lane).Scan(&n); err != nil {
		return 0, fmt.Errorf("looking for jobs that wait: %w", err)
	}
	if !n.Valid {
		return 0, nil
	}
	return max(1, int(n.Int64)), nil
}
