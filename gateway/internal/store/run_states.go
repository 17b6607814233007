package store

import (
	"context"
	"encoding/json"
	"fmt"
)

// moveRun changes a run in one transaction and returns it as it then is.
func (s *SQL) moveRun(ctx context.Context, id, doing string, change func(*tx, Run) error) (run Run, err error) {
	err = s.inTx(ctx, func(tx *tx) error {
		run, err := lockRun(ctx, tx, id)
		if err != nil {
			return err
		}
		return change(tx, run)
	})
	if err == nil {
		run, err = s.GetRun(ctx, id)
	}
	if err != nil {
		return Run{}, fmt.Errorf("%s run %.64q: %w", doing, id, err)
	}
	return run, nil
}

func setRunState(ctx context.Context, tx *tx, id string, state RunState, reason string) error {
	_, err := tx.exec(ctx, `UPDATE runs SET state = ?, reason = ? WHERE run_id = ?`, string(state), reason, id)
	return err
}

// SealRun starts a run whose items are all there. Sealing again changes nothing.
func (s *SQL) SealRun(ctx context.Context, id string) (Run, error) {
	return s.moveRun(ctx, id, "starting", func(tx *tx, r Run) error {
		if r.State != RunLoading {
			return nil
		}
		_, err := tx.exec(ctx, `UPDATE runs SET state = ?, sealed_ms = ? WHERE run_id = ?`, string(RunRunning), millis(s.now()), id)
		return err
	})
}

// PauseRun starts no more items; what is in hand goes on. reason is empty for a person's pause. Pausing again keeps the first reason.
func (s *SQL) PauseRun(ctx context.Context, id, reason string) (Run, error) {
	return s.moveRun(ctx, id, "pausing", func(tx *tx, r Run) error {
		switch r.State {
		case RunRunning:
			if reason != "" { // whoever pauses it knows
				if err := s.noticesIn(tx).send(ctx, runNotice(r, RunPaused, reason)); err != nil {
					return err
				}
			}
			return setRunState(ctx, tx, id, RunPaused, reason)
		case RunPaused:
			return nil
		}
		return fmt.Errorf("%w: it is %s", ErrRunState, r.State)
	})
}

// ResumeRun goes on with a paused run. A run that has paused itself goes on without its limits of failures, of audio and of cost: whoever resumes it
// has seen what they tell.
func (s *SQL) ResumeRun(ctx context.Context, id string) (Run, error) {
	return s.moveRun(ctx, id, "resuming", func(tx *tx, r Run) error {
		switch r.State {
		case RunRunning:
			return nil
		case RunPaused:
		default:
			return fmt.Errorf("%w: it is %s", ErrRunState, r.State)
		}
		if r.Reason != "" {
			r.Spec.MaxFailures, r.Spec.MaxAudioS, r.Spec.MaxCost = 0, 0, 0
			spec, err := json.Marshal(r.Spec)
			if err != nil {
				return err
			}
			if _, err := tx.exec(ctx, `UPDATE runs SET spec = ? WHERE run_id = ?`, string(spec), id); err != nil {
				return err
			}
		}
		return setRunState(ctx, tx, id, RunRunning, "")
	})
}

// NoteRun says why a running run does not go on at the moment; "" that it does.
func (s *SQL) NoteRun(ctx context.Context, id, reason string) error {
	_, err := s.moveRun(ctx, id, "noting", func(tx *tx, r Run) error {
		if r.State != RunRunning || r.Reason == reason {
			return nil
		}
		return setRunState(ctx, tx, id, RunRunning, reason)
	})
	return err
}

// CancelRun ends the pending items of a run at once and marks it as cancelling; its jobs are for the caller to cancel. Cancelling again
// changes nothing.
func (s *SQL) CancelRun(ctx context.Context, id string) (Run, error) {
	return s.moveRun(ctx, id, "cancelling", func(tx *tx, r Run) error {
		if r.State == RunCancelling || r.State == RunCancelled {
			return nil
		}
		if r.State.Terminal() {
			return fmt.Errorf("%w: it has ended as %s", ErrRunState, r.State)
		}
		n, err := tx.exec(ctx, `UPDATE run_items SET state = ?, code = 'cancelled', ended_ms = ? WHERE run_id = ? AND state = ?`,
			string(ItemCancelled), millis(s.now()), id, string(ItemPending))
		if err != nil {
			return err
		}
		if _, err := tx.exec(ctx, `UPDATE runs SET pending = pending - ?, cancelled = cancelled + ? WHERE run_id = ?`, n, n, id); err != nil {
			return err
		}
		return setRunState(ctx, tx, id, RunCancelling, "")
	})
}

// RetryRun takes the failed and partial items of a run, of one code or, with "", of all, back to pending, and the run to running. It
// returns how many.
func (s *SQL) RetryRun(ctx context.Context, id, code string) (run Run, items int, err error) {
	run, err = s.moveRun(ctx, id, "retrying", func(tx *tx, r Run) error {
		if r.State == RunLoading || r.State == RunCancelling {
			return fmt.Errorf("%w: it is %s", ErrRunState, r.State)
		}
		items = 0
		for _, state := range []ItemState{ItemFailed, ItemPartial} {
			n, err := retryItems(ctx, tx, id, state, code)
			if err != nil {
				return err
			}
			items += n
		}
		if items == 0 {
			return nil
		}
		_, err := tx.exec(ctx, `UPDATE runs SET state = ?, reason = '', ended_ms = 0 WHERE run_id = ?`, string(RunRunning), id)
		return err
	})
	return run, items, err
}

func retryItems(ctx context.Context, tx *tx, id string, state ItemState, code string) (int, error) {
	where, args := ` WHERE run_id = ? AND state = ?`, []any{id, string(state)}
	if code != "" {
		where, args = where+` AND code = ?`, append(args, code)
	}
	if _, err := tx.exec(ctx, `UPDATE run_failures SET items = items - (SELECT COUNT(*) FROM run_items`+where+` AND run_items.code = run_failures.code) WHERE run_id = ?`,
		append(args, id)...); err != nil {
		return 0, err
	}
	var seconds float64
	var windows int
	err := tx.row(ctx, `SELECT COALESCE(SUM(duration_s), 0), COALESCE(SUM(windows), 0) FROM run_items`+where, args...).Scan(&seconds, &windows)
	if err != nil {
		return 0, err
	}
	if _, err := tx.exec(ctx, `DELETE FROM run_vectors WHERE run_id = ? AND n IN (SELECT n FROM run_items`+where+`)`, append([]any{id}, args...)...); err != nil {
		return 0, err
	}
	n, err := tx.exec(ctx, `UPDATE run_items SET state = '`+string(ItemPending)+`', ended_ms = 0, seq = 0`+where, args...)
	if err != nil {
		return 0, err
	}
	column := map[ItemState]string{ItemFailed: "failed", ItemPartial: "partial"}[state]
	_, err = tx.exec(ctx, `UPDATE runs SET pending = pending + ?, `+column+` = `+column+` - ?, audio_s = audio_s - ?, windows = windows - ? WHERE run_id = ?`, n, n, seconds, windows, id)
	return int(n), err
}

// FinishRun ends a run of which no item is pending or running. Otherwise it changes nothing.
func (s *SQL) FinishRun(ctx context.Context, id string) (Run, error) {
	return s.moveRun(ctx, id, "ending", func(tx *tx, r Run) error {
		if r.State == RunLoading || r.State.Terminal() || r.Counts[ItemPending]+r.Counts[ItemRunning] > 0 {
			return nil
		}
		if _, err := tx.exec(ctx, `UPDATE runs SET state = ?, reason = '', ended_ms = ? WHERE run_id = ?`, string(outcomeOf(r)), millis(s.now()), id); err != nil {
			return err
		}
		return s.noticesIn(tx).send(ctx, runNotice(r, outcomeOf(r), ""))
	})
}

func outcomeOf(r Run) RunState {
	good := r.Counts[ItemSucceeded] + r.Counts[ItemSkipped]
	switch {
	case r.State == RunCancelling:
		return RunCancelled
	case good == r.Items:
		return RunSucceeded
	case good+r.Counts[ItemPartial] == 0:
		return RunFailed
	}
	return RunPartial
}

// UnchangedSince returns the item of an earlier run with the same place and content if it succeeded there or was skipped, and whether there is one.
func (s *SQL) UnchangedSince(ctx context.Context, runID, uri, sha256 string) (bool, error) {
	var n int
	err := s.rowRead(ctx, `SELECT COUNT(*) FROM run_items WHERE run_id = ? AND uri = ? AND sha256 = ? AND state IN ('succeeded', 'skipped')`,
		runID, uri, sha256).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("looking for an item of run %.64q: %w", runID, err)
	}
	return n > 0, nil
}
