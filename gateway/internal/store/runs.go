package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// RunState is the state of a run.
type RunState string

// States of a run. The last four are terminal, but a retry of failed items takes a run back to RunRunning.
const (
	RunLoading    RunState = "loading" // its items come in
	RunRunning    RunState = "running"
	RunPaused     RunState = "paused" // Reason tells why; items in hand go on
	RunCancelling RunState = "cancelling"
	RunSucceeded  RunState = "succeeded" // every item succeeded or was skipped
	RunPartial    RunState = "partial"
	RunFailed     RunState = "failed" // no item succeeded
	RunCancelled  RunState = "cancelled"
)

// Terminal tells whether a run in this state has ended.
func (s RunState) Terminal() bool {
	return s == RunSucceeded || s == RunPartial || s == RunFailed || s == RunCancelled
}

// ItemState is the state of one item of a run.
type ItemState string

// States of an item. All but the first two are terminal. ItemSkipped: an earlier run has the item, and it has not changed.
const (
	ItemPending   ItemState = "pending"
	ItemRunning   ItemState = "running"
	ItemSucceeded ItemState = event.JobSucceeded
	ItemPartial   ItemState = event.JobPartial
	ItemFailed    ItemState = event.JobFailed
	ItemCancelled ItemState = event.JobCancelled
	ItemSkipped   ItemState = "skipped"
)

// ItemStates are all states of an item, in the order of the counters.
func ItemStates() []ItemState {
	return []ItemState{ItemPending, ItemRunning, ItemSucceeded, ItemPartial, ItemFailed, ItemCancelled, ItemSkipped}
}

// Errors of runs that callers tell apart.
var (
	ErrRunNotFound = errors.New("run not found")
	// ErrRunState says that the run's state does not allow what was asked for.
	ErrRunState = errors.New("the run's state does not allow this")
)

// RunSpec is what a run asks of each of its items.
type RunSpec struct {
	Questions []string       `json:"questions"`
	Plan      string         `json:"plan"`
	Decode    event.Decoding `json:"decode"`
	event.Options
	// MaxFailures pauses the run when more than this share of the ended items has failed, 20 of them at least; 0 = never.
	MaxFailures float64 `json:"max_failures,omitempty"`
	// MaxAudioS pauses the run when its items have more seconds of audio than this; 0 = never.
	MaxAudioS float64 `json:"max_audio_s,omitempty"`
	// MaxCost pauses the run when it has spent this much by the operator's prices; 0 = never.
	MaxCost float64 `json:"max_cost,omitempty"`
	// ChangedSince is a run whose succeeded items are skipped while they have not changed.
	ChangedSince string `json:"changed_since,omitempty"`
	// ModelDigest is the model that must answer; empty for whichever is deployed.
	ModelDigest string `json:"model_digest,omitempty"`
}

// Run is a set of items and what has become of them.
type Run struct {
	ID, Name string
	// Tenant owns the run.
	Tenant string
	State  RunState
	Reason string
	Spec   RunSpec

	Created, Sealed, Ended time.Time

	// Items counts all of them, Counts by state.
	Items  int
	Counts map[ItemState]int
	// AudioS are the seconds of audio of the ended items, Windows their windows, Encoded the windows of which no embedding was known, Answers
	// the questions answered.
	AudioS                    float64
	Windows, Encoded, Answers int
	// AnswersKnown are the answers that were kept from before.
	AnswersKnown int
	// Cost is what the jobs of the settled items have cost, those of retried ones too.
	Cost Cost
	// LastSeq is the number of the last failure.
	LastSeq int
}

// Item is one track of a run.
type Item struct {
	// N numbers the items of a run from 1.
	N  int
	ID string
	// URI is where the audio lies.
	URI string
	// Fields are what the manifest says of the item, such as its title; they are given back with the results.
	Fields map[string]string
	State  ItemState
	// Code and Message tell why an item has not succeeded.
	Code, Message string
	Attempt       int
	JobID         string
	SHA256        string
	Bytes         int64
	DurationS     float64
	Windows       int
	Ended         time.Time
	// Seq numbers the items that have failed, in whole or in part, in the order in which they were settled; 0 for others.
	Seq int
}

const (
	runColumns = `run_id, tenant, name, state, reason, spec, created_ms, sealed_ms, ended_ms, items,
	pending, running, succeeded, partial, failed, cancelled, skipped, audio_s, windows, encoded, answers, answers_known, cost_audio_s, cost_encoder_s, cost_prompt_tokens, cost_output_tokens, last_seq`
	itemColumns = `n, item_id, uri, fields, state, code, message, attempt, job_id, sha256, bytes, duration_s, windows, ended_ms, seq`
)

func scanRun(row scanner) (Run, error) {
	r := Run{Counts: make(map[ItemState]int)}
	var spec string
	var created, sealed, ended int64
	counts := make([]int, len(ItemStates()))
	err := row.Scan(&r.ID, &r.Tenant, &r.Name, &r.State, &r.Reason, &spec, &created, &sealed, &ended, &r.Items,
		&counts[0], &counts[1], &counts[2], &counts[3], &counts[4], &counts[5], &counts[6], &r.AudioS, &r.Windows, &r.Encoded, &r.Answers,
		&r.AnswersKnown, &r.Cost.AudioS, &r.Cost.EncoderS, &r.Cost.PromptTokens, &r.Cost.OutputTokens, &r.LastSeq)
	if errors.Is(err, sql.ErrNoRows) {
		return Run{}, ErrRunNotFound
	}
	if err != nil {
		return Run{}, err
	}
	for i, s := range ItemStates() {
		r.Counts[s] = counts[i]
	}
	r.Created, r.Sealed, r.Ended = fromMillis(created), fromMillis(sealed), fromMillis(ended)
	return r, json.Unmarshal([]byte(spec), &r.Spec)
}

func scanItem(row scanner) (Item, error) {
	var it Item
	var fields string
	var ended int64
	err := row.Scan(&it.N, &it.ID, &it.URI, &fields, &it.State, &it.Code, &it.Message, &it.Attempt, &it.JobID, &it.SHA256, &it.Bytes, &it.DurationS, &it.Windows, &ended, &it.Seq)
	if err != nil {
		return Item{}, err
	}
	it.Ended = fromMillis(ended)
	return it, json.Unmarshal([]byte(fields), &it.Fields)
}

// CreateRun writes a run without items. Its state is RunLoading until SealRun.
func (s *SQL) CreateRun(ctx context.Context, r Run) error {
	spec, err := json.Marshal(r.Spec)
	if err != nil {
		return fmt.Errorf("creating run: %w", err)
	}
	err = s.inTx(ctx, func(tx *tx) error {
		_, err := tx.exec(ctx, `INSERT INTO runs (`+runColumns+`, owner, lease_ms) VALUES (?, ?, ?, ?, '', ?, ?, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '', 0)`,
			r.ID, r.Tenant, r.Name, string(RunLoading), string(spec), millis(r.Created))
		return err
	})
	if err != nil {
		return fmt.Errorf("creating run %s: %w", r.ID, err)
	}
	return nil
}

// AddItems adds items to a run that is loading. An item whose id the run has already changes nothing. It returns how many were new.
func (s *SQL) AddItems(ctx context.Context, runID string, items []Item) (added int, err error) {
	err = s.inTx(ctx, func(tx *tx) error {
		run, err := lockRun(ctx, tx, runID)
		if err != nil {
			return err
		}
		if run.State != RunLoading {
			return fmt.Errorf("%w: items are added before the run starts", ErrRunState)
		}
		known, err := knownItems(ctx, tx, runID, items)
		if err != nil {
			return err
		}
		var rows [][]any
		for _, it := range items {
			if known[it.ID] {
				continue
			}
			known[it.ID] = true
			fields, err := json.Marshal(it.Fields)
			if err != nil {
				return err
			}
			rows = append(rows, []any{
				runID, run.Items + len(rows) + 1, it.ID, it.URI, string(fields), string(ItemPending), "", "", 0, "", it.SHA256, it.Bytes, 0.0, 0, 0, 0,
			})
		}
		if added = len(rows); added == 0 {
			return nil
		}
		if _, err := tx.insert(ctx, `run_items (run_id, `+itemColumns+`)`, rows, ""); err != nil {
			return err
		}
		_, err = tx.exec(ctx, `UPDATE runs SET items = items + ?, pending = pending + ? WHERE run_id = ?`, added, added, runID)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("adding items to run %.64q: %w", runID, err)
	}
	return added, nil
}

// knownItems are the ids of items that the run has already.
func knownItems(ctx context.Context, tx *tx, runID string, items []Item) (map[string]bool, error) {
	known := make(map[string]bool, len(items))
	ids := make([]string, len(items))
	for i, it := range items {
		ids[i] = it.ID
	}
	for some := range slices.Chunk(ids, maxIDs) {
		in, args := tx.dialect.oneOf("item_id", some)
		err := tx.each(ctx, func(rows *sql.Rows) error {
			var id string
			err := rows.Scan(&id)
			known[id] = true
			return err
		}, `SELECT item_id FROM run_items WHERE run_id = ? AND `+in, append([]any{runID}, args...)...)
		if err != nil {
			return nil, err
		}
	}
	return known, nil
}

// lockRun reads a run so that no other transaction changes it before this one ends.
func lockRun(ctx context.Context, tx *tx, id string) (Run, error) {
	return scanRun(tx.row(ctx, `SELECT `+runColumns+` FROM runs WHERE run_id = ?`+tx.dialect.lock, id))
}

// GetRun returns a run, or ErrRunNotFound.
func (s *SQL) GetRun(ctx context.Context, id string) (Run, error) {
	r, err := scanRun(s.rowRead(ctx, `SELECT `+runColumns+` FROM runs WHERE run_id = ?`, id))
	if err != nil {
		return Run{}, fmt.Errorf("reading run %.64q: %w", id, err)
	}
	return r, nil
}

// FindRun returns a tenant's newest run of a name, or ErrRunNotFound.
func (s *SQL) FindRun(ctx context.Context, tenant, name string) (Run, error) {
	r, err := scanRun(s.rowRead(ctx, `SELECT `+runColumns+` FROM runs WHERE tenant = ? AND name = ? ORDER BY created_ms DESC, run_id DESC LIMIT 1`, tenant, name))
	if err != nil {
		return Run{}, fmt.Errorf("reading run %.64q: %w", name, err)
	}
	return r, nil
}

// ListRuns returns a tenant's runs, newest first.
func (s *SQL) ListRuns(ctx context.Context, tenant string, after Place, limit int) (runs []Run, err error) {
	query, args := `SELECT `+runColumns+` FROM runs WHERE tenant = ?`, []any{tenant}
	if after != (Place{}) {
		query, args = query+` AND (created_ms, run_id) < (?, ?)`, append(args, millis(after.Created), after.ID)
	}
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		r, err := scanRun(rows)
		runs = append(runs, r)
		return err
	}, query+` ORDER BY created_ms DESC, run_id DESC LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("listing runs: %w", err)
	}
	return runs, nil
}

// RunItems returns items of a run by number, those after the number given; state "" is any.
func (s *SQL) RunItems(ctx context.Context, runID string, state ItemState, after, limit int) (items []Item, err error) {
	query, args := `SELECT `+itemColumns+` FROM run_items WHERE run_id = ? AND n > ?`, []any{runID, after}
	if state != "" {
		query, args = query+` AND state = ?`, append(args, string(state))
	}
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		it, err := scanItem(rows)
		items = append(items, it)
		return err
	}, query+` ORDER BY n LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("reading items of run %.64q: %w", runID, err)
	}
	return items, nil
}

// ItemsOf returns the items of a run that have the ids, by id. An id that the run does not have is left out.
func (s *SQL) ItemsOf(ctx context.Context, runID string, ids []string) (map[string]Item, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	in, args := s.dialect.oneOf("item_id", ids)
	items := make(map[string]Item, len(ids))
	err := s.queryRead(ctx, func(rows *sql.Rows) error {
		it, err := scanItem(rows)
		items[it.ID] = it
		return err
	}, `SELECT `+itemColumns+` FROM run_items WHERE run_id = ? AND `+in, append([]any{runID}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("reading items of run %.64q: %w", runID, err)
	}
	return items, nil
}

// ItemAt returns the first item of a run whose audio lies at a URI, and whether there is one.
func (s *SQL) ItemAt(ctx context.Context, runID, uri string) (Item, bool, error) {
	it, err := scanItem(s.rowRead(ctx, `SELECT `+itemColumns+` FROM run_items WHERE run_id = ? AND uri = ? ORDER BY n LIMIT 1`, runID, uri))
	if errors.Is(err, sql.ErrNoRows) {
		return Item{}, false, nil
	}
	if err != nil {
		return Item{}, false, fmt.Errorf("reading item of run %.64q: %w", runID, err)
	}
	return it, true, nil
}

// FailedItems returns items that have failed, in whole or in part, after the failure of a number, in the order of their failures.
func (s *SQL) FailedItems(ctx context.Context, runID string, after, limit int) (items []Item, err error) {
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		it, err := scanItem(rows)
		items = append(items, it)
		return err
	}, `SELECT `+itemColumns+` FROM run_items WHERE run_id = ? AND seq > ? AND seq > 0 ORDER BY seq LIMIT ?`, runID, after, limit)
	if err != nil {
		return nil, fmt.Errorf("reading failures of run %.64q: %w", runID, err)
	}
	return items, nil
}

// RunFailures counts the items of a run that have not succeeded, by code.
func (s *SQL) RunFailures(ctx context.Context, runID string) (map[string]int, error) {
	byCode := make(map[string]int)
	err := s.queryRead(ctx, func(rows *sql.Rows) error {
		var code string
		var n int
		err := rows.Scan(&code, &n)
		byCode[code] = n
		return err
	}, `SELECT code, items FROM run_failures WHERE run_id = ? AND items > 0`, runID)
	if err != nil {
		return nil, fmt.Errorf("reading failures of run %.64q: %w", runID, err)
	}
	return byCode, nil
}

// OutcomesOf returns the outcomes of several jobs, by job, in the order in which they were recorded.
func (s *SQL) OutcomesOf(ctx context.Context, jobIDs []string) (map[string][]*eventpb.Outcome, error) {
	if len(jobIDs) == 0 {
		return nil, nil
	}
	args := make([]any, len(jobIDs))
	for i, id := range jobIDs {
		args[i] = id
	}
	byJob := make(map[string][]*eventpb.Outcome)
	err := s.queryRead(ctx, func(rows *sql.Rows) error {
		o, err := scanOutcome(rows)
		byJob[o.GetJobId()] = append(byJob[o.GetJobId()], o)
		return err
	}, `SELECT record FROM outcomes WHERE job_id IN (?`+strings.Repeat(", ?", len(jobIDs)-1)+`) ORDER BY job_id, seq`, args...)
	if err != nil {
		return nil, fmt.Errorf("reading outcomes of %d jobs: %w", len(jobIDs), err)
	}
	return byJob, nil
}
