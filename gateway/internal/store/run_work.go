package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// LeadRuns takes the lead of open runs that nobody leads, up to limit, keeps the lead of those that owner leads already, and returns all of them.
// A lead lapses at until.
func (s *SQL) LeadRuns(ctx context.Context, owner string, until time.Time, limit int) (runs []Run, err error) {
	if open, err := s.anyOpen(ctx, "runs"); err != nil || !open {
		return nil, err
	}
	err = s.inTx(ctx, func(tx *tx) error {
		runs = nil
		rows, err := tx.QueryContext(ctx, tx.dialect.rebind(`UPDATE runs SET owner = ?, lease_ms = ? WHERE run_id IN (
				SELECT run_id FROM runs WHERE ended_ms = 0 AND state <> ? AND (owner = ? OR lease_ms < ?) ORDER BY created_ms, run_id LIMIT ?)
			AND (owner = ? OR lease_ms < ?) RETURNING `+runColumns),
			owner, millis(until), string(RunLoading), owner, millis(s.now()), limit, owner, millis(s.now()))
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // rows.Err tells
		for rows.Next() {
			r, err := scanRun(rows)
			if err != nil {
				return err
			}
			runs = append(runs, r)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("taking the lead of runs: %w", err)
	}
	return runs, nil
}

// anyOpen tells whether a table of runs or batches has one that has not ended. A gateway looks for work several times a second: with none, it must not
// take SQLite's only writer for that.
func (s *SQL) anyOpen(ctx context.Context, table string) (open bool, err error) {
	if err = s.rowRead(ctx, `SELECT EXISTS (SELECT 1 FROM `+table+` WHERE ended_ms = 0)`).Scan(&open); err != nil {
		return false, fmt.Errorf("looking for open %s: %w", table, err)
	}
	return open, nil
}

// ItemStart is an item whose audio was found, with the job that it becomes.
type ItemStart struct {
	N      int
	SHA256 string
	Bytes  int64
	Job    Job
}

// ItemEnd is an item that ends without a job of its own.
type ItemEnd struct {
	N             int
	State         ItemState
	Code, Message string
	SHA256        string
	Bytes         int64
}

// Started says what StartItems did.
type Started struct {
	// Jobs is how many were made.
	Jobs int
	// Held is the limit of the tenant for which the other items stay pending; nil for none.
	Held *LimitError
}

// StartItems makes the jobs of pending items, which wait for admission, and ends items that have none, in one transaction. Items that are no
// longer pending are left as they are, and so are those for which the limits of the run's tenant leave no room.
func (s *SQL) StartItems(ctx context.Context, runID string, starts []ItemStart, ends []ItemEnd, limits client.TenantLimits) (done Started, err error) {
	limits.UploadBytesPerDay = 0 // nobody uploads what a run reads
	err = s.inTx(ctx, func(tx *tx) error {
		done = Started{}
		run, err := lockRun(ctx, tx, runID)
		if err != nil || run.State != RunRunning {
			return err
		}
		w := itemWork{tx: tx, run: runID, counts: make(map[ItemState]int), codes: make(map[string]int), now: s.now(), seq: run.LastSeq}
		if err := w.startAll(ctx, starts, limits, &done); err != nil {
			return err
		}
		for _, e := range ends {
			if err := w.end(ctx, e); err != nil {
				return err
			}
		}
		return w.count(ctx)
	})
	if err != nil {
		return Started{}, fmt.Errorf("starting items of run %.64q: %w", runID, err)
	}
	return done, nil
}

// itemWork is one transaction's work on the items of a run.
type itemWork struct {
	tx     *tx
	run    string
	now    time.Time
	counts map[ItemState]int // change by state
	codes  map[string]int    // change of failures by code

	audioS                    float64
	windows, encoded, answers int
	known                     int // answers that were kept from before
	cost                      Cost
	seq                       int // of the last failure
}

// numbered is the number of an item that ends in a state, 0 if it has not failed.
func (w *itemWork) numbered(state ItemState) int {
	if state != ItemFailed && state != ItemPartial {
		return 0
	}
	w.seq++
	return w.seq
}

// startAll makes the jobs of items, which are of one tenant, as far as its limits allow. They wait for admission. They give the tenant no right to name their audio by its hash: a
// manifest may tell any hash, and nobody has sent the bytes.
func (w *itemWork) startAll(ctx context.Context, starts []ItemStart, limits client.TenantLimits, done *Started) error {
	jobs := make([]Job, len(starts))
	for i, st := range starts {
		jobs[i] = st.Job
		jobs[i].RunID = w.run
	}
	var err error
	*done, err = startWaiting(ctx, w.tx, w.now, jobs, limits, func(n int) ([]int, error) { return w.start(ctx, starts[:n]) })
	return err
}

// startWaiting makes bulk jobs of one tenant that wait for admission, in their order, as far as its limits allow. take takes the first n
// of them in hand, and returns the places of those that are still wanted.
func startWaiting(ctx context.Context, tx *tx, now time.Time, jobs []Job, limits client.TenantLimits, take func(n int) ([]int, error)) (done Started, err error) {
	if len(jobs) == 0 {
		return Started{}, nil
	}
	lane, err := lockLane(ctx, tx, event.LaneBulk)
	if err != nil {
		return Started{}, err
	}
	used := &Usage{}
	if Counted(limits) {
		if used, err = lockUsage(ctx, tx, jobs[0].Tenant, now); err != nil {
			return Started{}, err
		}
	}
	most := 0
	for ; most < len(jobs) && !errors.As(used.Check(limits, expectedWindows(jobs[most]), 0), &done.Held); most++ {
		used.OpenJobs, used.Windows = used.OpenJobs+1, used.Windows+expectedWindows(jobs[most])
	}
	if most == 0 {
		return done, nil
	}
	wanted, err := take(most)
	if err != nil {
		return Started{}, err
	}
	var rows, questions [][]any
	for _, i := range wanted {
		job := jobs[i]
		job.Waiting = true
		row, err := jobRow(job, now)
		if err != nil {
			return Started{}, err
		}
		rows, questions = append(rows, row), append(questions, questionRows(job)...)
		lane.added++
	}
	if done.Jobs = lane.added; done.Jobs == 0 {
		return done, nil
	}
	if _, err := tx.insert(ctx, insertJob, rows, ""); err != nil {
		return Started{}, err
	}
	if _, err := tx.insert(ctx, insertQuestion, questions, ""); err != nil {
		return Started{}, err
	}
	if err := lane.wait(ctx, tx, turnOf(jobs[0])); err != nil {
		return Started{}, err
	}
	return done, countOpen(ctx, tx, event.LaneBulk, lane.added)
}

// start takes pending items in hand, and returns the places of those that were pending.
func (w *itemWork) start(ctx context.Context, starts []ItemStart) (taken []int, err error) {
	at := make(map[int]int, len(starts))
	rows := make([][]any, len(starts))
	for i, st := range starts {
		at[st.N], rows[i] = i, []any{st.N, st.Job.ID, st.SHA256, st.Bytes}
	}
	err = w.tx.update(ctx, func(rows *sql.Rows) error {
		var n int
		err := rows.Scan(&n)
		taken = append(taken, at[n])
		return err
	}, `UPDATE run_items SET state = ?, job_id = v.column2, sha256 = v.column3, bytes = v.column4, attempt = attempt + 1, code = '', message = ''`,
		[]any{string(ItemRunning)}, "n", rows, `run_id = ? AND state = ? RETURNING n`, []any{w.run, string(ItemPending)})
	slices.Sort(taken)
	w.counts[ItemPending] -= len(taken)
	w.counts[ItemRunning] += len(taken)
	return taken, err
}

func (w *itemWork) end(ctx context.Context, e ItemEnd) error {
	n, err := w.tx.exec(ctx, `UPDATE run_items SET state = ?, code = ?, message = ?, sha256 = ?, bytes = ?, ended_ms = ?, seq = ? WHERE run_id = ? AND n = ? AND state = ?`,
		string(e.State), e.Code, e.Message, e.SHA256, e.Bytes, millis(w.now), w.numbered(e.State), w.run, e.N, string(ItemPending))
	if err != nil || n == 0 {
		return err
	}
	w.counts[ItemPending]--
	w.counts[e.State]++
	if e.State == ItemFailed {
		w.codes[e.Code]++
	}
	return nil
}

// count brings the run's counters up to date.
func (w *itemWork) count(ctx context.Context) error {
	c := w.counts
	_, err := w.tx.exec(ctx, `UPDATE runs SET pending = pending + ?, running = running + ?, succeeded = succeeded + ?, partial = partial + ?, failed = failed + ?,
		cancelled = cancelled + ?, skipped = skipped + ?, audio_s = audio_s + ?, windows = windows + ?, encoded = encoded + ?, answers = answers + ?,
		answers_known = answers_known + ?, cost_audio_s = cost_audio_s + ?, cost_encoder_s = cost_encoder_s + ?, cost_prompt_tokens = cost_prompt_tokens + ?,
		cost_output_tokens = cost_output_tokens + ?, last_seq = ? WHERE run_id = ?`,
		c[ItemPending], c[ItemRunning], c[ItemSucceeded], c[ItemPartial], c[ItemFailed], c[ItemCancelled], c[ItemSkipped],
		w.audioS, w.windows, w.encoded, w.answers, w.known, w.cost.AudioS, w.cost.EncoderS, w.cost.PromptTokens, w.cost.OutputTokens, w.seq, w.run)
	if err != nil {
		return err
	}
	for code, n := range w.codes {
		_, err := w.tx.exec(ctx, `INSERT INTO run_failures (run_id, code, items) VALUES (?, ?, ?)
			ON CONFLICT (run_id, code) DO UPDATE SET items = run_failures.items + excluded.items`, w.run, code, n)
		if err != nil {
			return err
		}
	}
	return nil
}

// CodeJobDeleted is the code of an item whose job somebody has deleted before the run took its results.
const CodeJobDeleted = "job_deleted"

// ended is an item whose job has ended.
type ended struct {
	n                 int
	job, state        string
	seconds           float64
	windows, answered int
	cost              Cost
}

// SettleItems ends items that EndedItems has returned, keeps their vectors, and returns how many. An item that was settled meanwhile, or whose job is another
// by now, is left as it is.
func (s *SQL) SettleItems(ctx context.Context, runID string, items []EndedItem) (settled int, err error) {
	if len(items) == 0 {
		return 0, nil
	}
	err = s.inTx(ctx, func(tx *tx) error {
		run, err := lockRun(ctx, tx, runID)
		if err != nil {
			return err
		}
		all, err := endedItems(ctx, tx, runID, items)
		settled = len(all)
		if err != nil || settled == 0 {
			return err
		}
		w := itemWork{tx: tx, run: runID, counts: make(map[ItemState]int), codes: make(map[string]int), now: s.now(), seq: run.LastSeq}
		jobs := make(map[string]bool, len(all))
		done, err := workOf(ctx, tx, all)
		if err != nil {
			return err
		}
		ends := make([][]any, len(all))
		for i, e := range all {
			if ends[i], err = w.settle(ctx, e, done[e.job]); err != nil {
				return err
			}
			jobs[e.job] = true
		}
		err = tx.update(ctx, func(*sql.Rows) error { return nil },
			`UPDATE run_items SET state = v.column2, code = v.column3, message = '', duration_s = v.column4, windows = v.column5, ended_ms = ?, seq = v.column6`, []any{millis(w.now)},
			"n", ends, `run_id = ?`, []any{runID})
		if err != nil {
			return err
		}
		if err := w.keep(ctx, slices.DeleteFunc(slices.Clone(items), func(it EndedItem) bool { return !jobs[it.JobID] })); err != nil {
			return err
		}
		return w.count(ctx)
	})
	if err != nil {
		return 0, fmt.Errorf("settling items of run %.64q: %w", runID, err)
	}
	return settled, nil
}

// endedItems reads those of the items that have ended with the same jobs and are not settled.
func endedItems(ctx context.Context, tx *tx, runID string, items []EndedItem) (all []ended, err error) {
	ids := make([]string, len(items))
	for i, it := range items {
		ids[i] = it.JobID
	}
	in, args := tx.dialect.oneOf("i.job_id", ids)
	err = tx.each(ctx, func(rows *sql.Rows) error {
		var e ended
		err := rows.Scan(&e.n, &e.job, &e.state, &e.seconds, &e.windows, &e.answered, &e.cost.AudioS, &e.cost.EncoderS, &e.cost.PromptTokens, &e.cost.OutputTokens)
		all = append(all, e)
		return err
	}, `SELECT i.n, i.job_id, COALESCE(j.state, ?), COALESCE(j.duration_s, 0), CASE WHEN j.duration_s > 0 THEN j.windows ELSE 0 END, COALESCE(j.answered, 0),
		COALESCE(j.cost_audio_s, 0), COALESCE(j.cost_encoder_s, 0), COALESCE(j.cost_prompt_tokens, 0), COALESCE(j.cost_output_tokens, 0)
		FROM run_items AS i LEFT JOIN jobs AS j ON j.job_id = i.job_id
		WHERE i.run_id = ? AND i.state = ? AND (j.ended_ms > 0 OR j.job_id IS NULL) AND `+in+` ORDER BY i.n`, append([]any{string(ItemFailed), runID, string(ItemRunning)}, args...)...)
	return all, err
}

// settle takes the job's state for the item's, and the code that most of the job's failures have. It returns what is to be written of the item.
func (w *itemWork) settle(ctx context.Context, e ended, done worked) ([]any, error) {
	state := ItemState(e.state)
	var code string
	if state != ItemSucceeded {
		err := w.tx.row(ctx, `SELECT error_code FROM outcomes WHERE job_id = ? AND error_code <> '' GROUP BY error_code ORDER BY COUNT(*) DESC, error_code LIMIT 1`, e.job).Scan(&code)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		if code == "" {
			code = CodeJobDeleted
		}
		w.codes[code]++
	}
	w.counts[ItemRunning]--
	w.counts[state]++
	w.audioS, w.windows, w.encoded, w.answers = w.audioS+e.seconds, w.windows+e.windows, w.encoded+done.encoded, w.answers+e.answered
	w.known, w.cost = w.known+done.known, w.cost.Plus(e.cost)
	return []any{e.n, string(state), code, e.seconds, e.windows, w.numbered(state)}, nil
}

// worked counts the windows of a job that were encoded for it, and its answers that were kept from before.
type worked struct{ encoded, known int }

// workOf is the work of the jobs of items. A track that could not be cut has no windows, though its questions have outcomes; it has none.
func workOf(ctx context.Context, tx *tx, items []ended) (map[string]worked, error) {
	all := make(map[string]worked, len(items))
	var jobs []string
	for _, e := range items {
		if e.windows > 0 {
			jobs = append(jobs, e.job)
		}
	}
	for some := range slices.Chunk(jobs, maxIDs) {
		in, args := tx.dialect.oneOf("job_id", some)
		err := tx.each(ctx, func(rows *sql.Rows) error {
			o, err := scanOutcome(rows)
			if err != nil {
				return err
			}
			w := all[o.GetJobId()]
			if o.GetQuestion().GetIndex() == 0 && o.GetCache() == eventpb.Cache_CACHE_MISS {
				w.encoded++
			}
			if o.GetAnswerCache() == eventpb.Cache_CACHE_HIT {
				w.known++
			}
			all[o.GetJobId()] = w
			return nil
		}, `SELECT record FROM outcomes WHERE `+in, args...)
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
