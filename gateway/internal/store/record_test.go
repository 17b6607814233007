package store_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

func plan(jobID string, windows, questions int) *eventpb.JobPlan {
	p := &eventpb.JobPlan{JobId: jobID, Questions: uint32(questions), Track: &eventpb.Track{DurationS: 25 * float64(windows)}}
	for i := range windows {
		p.Windows = append(p.Windows, window(i))
	}
	return p
}

func window(i int) *eventpb.Window {
	return &eventpb.Window{
		Index: uint32(i), Hash: fmt.Sprintf("%064x", i+1), HeardS: 24, Span: &eventpb.Span{StartS: 25 * float64(i), EndS: 25 * float64(i+1)},
	}
}

func outcome(jobID string, question, win int, state eventpb.State) *eventpb.Outcome {
	o := &eventpb.Outcome{
		OutcomeId: event.OutcomeID(jobID, uint32(question), uint32(win)), JobId: jobID,
		Question: &eventpb.Question{Index: uint32(question), Text: "q"}, Window: window(win), State: state, Cache: eventpb.Cache_CACHE_MISS,
	}
	if state == eventpb.State_STATE_ANSWERED {
		o.Answer = "yes"
	} else {
		o.Error = &eventpb.Error{Code: "engine_error", Message: "no"}
	}
	return o
}

// givenUp is the outcome of a whole job: its window names no audio.
func givenUp(jobID string, question int) *eventpb.Outcome {
	o := outcome(jobID, question, 0, eventpb.State_STATE_FAILED)
	o.Window = &eventpb.Window{}
	return o
}

func record(t *testing.T, s *store.SQL, entries ...store.Entry) []store.Recorded {
	t.Helper()
	res, err := s.Record(t.Context(), entries)
	require.NoError(t, err)
	require.Len(t, res, len(entries))
	return res
}

// all is a job's plan and an outcome in state for each question of each window.
func all(jobID string, windows, questions int, state eventpb.State) []store.Entry {
	out := []store.Entry{{Plan: plan(jobID, windows, questions)}}
	for w := range windows {
		for q := range questions {
			out = append(out, store.Entry{Outcome: outcome(jobID, q, w, state)})
		}
	}
	return out
}

func finish(t *testing.T, s *store.SQL, jobID string, windows, questions int) {
	t.Helper()
	record(t, s, all(jobID, windows, questions, eventpb.State_STATE_ANSWERED)...)
}

func TestRecordInOrder(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		create(t, s, newJob("j1", "a", "b"))
		var last store.Recorded
		for i, e := range all("j1", 2, 2, eventpb.State_STATE_ANSWERED) {
			last = record(t, s, e)[0]
			require.Equal(t, i == 4, last.JustEnded)
			require.Equal(t, i, last.Job.Recorded())
		}
		require.Equal(t, store.Succeeded, last.Job.State)
		require.Zero(t, last.Missing)
		j, err := s.Get(t.Context(), "j1")
		require.NoError(t, err)
		require.Len(t, j.Windows, 2)
		require.Equal(t, store.Window{Index: 1, Hash: window(1).GetHash(), Span: event.Span{StartS: 25, EndS: 50}, HeardS: 24}, j.Windows[1])
		require.InDelta(t, 50, j.DurationS, 0)
		require.Equal(t, 2, j.WindowsDone)
		require.Zero(t, j.CacheHits)
		require.False(t, j.Planned.IsZero() || j.FirstOutcome.IsZero() || j.Ended.IsZero())
	})
}

// The faults of a track come with its plan and stay with the job.
func TestFaultsOfTheTrackAreKept(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		create(t, s, newJob("j1", "a"))
		p := plan("j1", 2, 1)
		p.Track.MissingS = 7
		p.Track.Warnings = []*eventpb.Warning{{Code: "truncated", AtS: 50, Message: "the file breaks off"}, {Code: "damaged_frames"}}
		p.Windows[1].Warnings = []string{"truncated", "damaged_frames"}
		record(t, s, store.Entry{Plan: p})
		j, err := s.Get(t.Context(), "j1")
		require.NoError(t, err)
		require.Equal(t, event.FaultsOf(p.GetTrack()), j.Faults)
		require.Empty(t, j.Windows[0].Warnings)
		require.Equal(t, []string{"truncated", "damaged_frames"}, j.Windows[1].Warnings)
		listed, err := s.Peek(t.Context(), "j1")
		require.NoError(t, err)
		require.Len(t, listed.Warnings, 2)
	})
}

// TestRecordInAnyOrder: whatever the order, the repetitions and the batches, the end is the same.
func TestRecordInAnyOrder(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		for seed := range uint64(20) {
			rng := rand.New(rand.NewPCG(seed, 1))
			id := fmt.Sprintf("job-%02d", seed)
			create(t, s, newJob(id, "a", "b", "c"))
			entries := all(id, 4, 3, eventpb.State_STATE_ANSWERED)
			entries = append(entries, entries...)
			rng.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
			ended, added := 0, 0
			for len(entries) > 0 {
				n := 1 + rng.IntN(len(entries))
				for _, r := range record(t, s, entries[:n]...) {
					added += r.New
					if r.JustEnded {
						ended++
						require.Zero(t, r.Missing)
					}
				}
				entries = entries[n:]
			}
			require.Equal(t, 1, ended, "seed %d", seed)
			require.Equal(t, 12, added, "seed %d", seed)
		}
		l, err := s.Ledger(t.Context())
		require.NoError(t, err)
		require.Equal(t, store.Ledger{EndedJobs: 20, Expected: 240, Recorded: 240}, l)
	})
}

func TestFirstOutcomeStands(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		create(t, s, newJob("j1", "a"))
		record(t, s, store.Entry{Plan: plan("j1", 2, 1)})
		first := record(t, s, store.Entry{Outcome: outcome("j1", 0, 0, eventpb.State_STATE_FAILED)})[0]
		require.Equal(t, 1, first.New)
		second := record(t, s, store.Entry{Outcome: outcome("j1", 0, 0, eventpb.State_STATE_ANSWERED)})[0]
		require.Zero(t, second.New)
		require.Equal(t, eventpb.State_STATE_FAILED, second.Outcomes[0].GetState(), "the one that stands is returned")
		require.Equal(t, 1, second.Job.Failed)
		record(t, s, store.Entry{Plan: plan("j1", 1, 1)})
		j, err := s.Get(t.Context(), "j1")
		require.NoError(t, err)
		require.Equal(t, 2, j.WindowCount, "and so does the first plan")
		require.Equal(t, store.Running, j.State)
	})
}

func TestFinalStates(t *testing.T) {
	t.Parallel()
	const a, f, c = eventpb.State_STATE_ANSWERED, eventpb.State_STATE_FAILED, eventpb.State_STATE_CANCELLED
	for name, tc := range map[string]struct {
		states []eventpb.State
		cancel bool
		want   store.State
	}{
		"all answered":                    {[]eventpb.State{a, a, a}, false, store.Succeeded},
		"all answered before the cancel":  {[]eventpb.State{a, a, a}, true, store.Succeeded},
		"some failed":                     {[]eventpb.State{a, f, a}, false, store.Partial},
		"all failed":                      {[]eventpb.State{f, f, f}, false, store.Failed},
		"some expired":                    {[]eventpb.State{a, c, c}, false, store.Partial},
		"all expired":                     {[]eventpb.State{c, c, c}, false, store.Failed},
		"cancelled half way":              {[]eventpb.State{a, c, f}, true, store.Cancelled},
		"failed although a cancel was on": {[]eventpb.State{f, f, f}, true, store.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, s *store.SQL) {
				create(t, s, newJob("j1", "q"))
				if tc.cancel {
					_, err := s.Cancel(t.Context(), "j1", nil, nil)
					require.NoError(t, err)
				}
				entries := []store.Entry{{Plan: plan("j1", 3, 1)}}
				for w, st := range tc.states {
					entries = append(entries, store.Entry{Outcome: outcome("j1", 0, w, st)})
				}
				res := record(t, s, entries...)
				require.True(t, res[3].JustEnded)
				require.Equal(t, tc.want, res[3].Job.State)
			})
		})
	}
}

func TestStrays(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		res := record(t, s, store.Entry{Plan: plan("none", 1, 1)}, store.Entry{Outcome: outcome("none", 0, 0, eventpb.State_STATE_ANSWERED)})
		require.True(t, res[0].Unknown)
		require.True(t, res[1].Unknown)

		create(t, s, newJob("j1", "q"))
		early := record(t, s,
			store.Entry{Outcome: outcome("j1", 7, 0, eventpb.State_STATE_ANSWERED)},
			store.Entry{Outcome: outcome("j1", 0, 5, eventpb.State_STATE_ANSWERED)})
		require.True(t, early[0].Outside, "there is no question 7")
		require.Equal(t, 1, early[1].New, "whether there is a window 5 is not known yet")
		require.False(t, record(t, s, store.Entry{Plan: plan("j1", 2, 1)})[0].JustEnded)
		j, err := s.Get(t.Context(), "j1")
		require.NoError(t, err)
		require.Zero(t, j.Recorded(), "there is none")
		require.True(t, record(t, s, store.Entry{Outcome: outcome("j1", 0, 2, eventpb.State_STATE_ANSWERED)})[0].Outside)
	})
}

// TestNumbersAreNotGivenAgain: outcomes that come after a stray was dropped get numbers of their own, and a reader of pages that has passed
// the stray sees them.
func TestNumbersAreNotGivenAgain(t *testing.T) {
	t.Parallel()
	const answered = eventpb.State_STATE_ANSWERED
	each(t, func(t *testing.T, s *store.SQL) {
		create(t, s, newJob("first", "q"))
		create(t, s, newJob("last", "q"))
		record(t, s,
			store.Entry{Outcome: outcome("first", 0, 9, answered)}, // the plan has no window 9
			store.Entry{Outcome: outcome("first", 0, 0, answered)},
			store.Entry{Plan: plan("first", 3, 1)},
			store.Entry{Outcome: outcome("first", 0, 1, answered)},
			store.Entry{Outcome: outcome("first", 0, 2, answered)})
		found, _, err := s.Outcomes(t.Context(), "first", 0, 10)
		require.NoError(t, err)
		require.Len(t, found, 3)

		record(t, s, store.Entry{Outcome: outcome("last", 0, 0, answered)}, store.Entry{Outcome: outcome("last", 0, 9, answered)})
		_, cursor, err := s.Outcomes(t.Context(), "last", 0, 10)
		require.NoError(t, err)
		record(t, s, store.Entry{Plan: plan("last", 2, 1)}, store.Entry{Outcome: outcome("last", 0, 1, answered)})
		found, _, err = s.Outcomes(t.Context(), "last", cursor, 10)
		require.NoError(t, err)
		require.Len(t, found, 1)
	})
}

// TestAGivenUpJobKeepsTheOutcomesOfWindowsWithoutAPlan: the plan is late or lost, but windows are answered, and their answers are told.
func TestAGivenUpJobKeepsTheOutcomesOfWindowsWithoutAPlan(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		create(t, s, newJob("lost", "a", "b"))
		record(t, s, store.Entry{Outcome: outcome("lost", 0, 2, eventpb.State_STATE_ANSWERED)})
		fallback := &eventpb.JobPlan{JobId: "lost", Questions: 2, Windows: []*eventpb.Window{{}}}
		res := record(t, s, store.Entry{Plan: fallback}, store.Entry{Outcome: givenUp("lost", 0)}, store.Entry{Outcome: givenUp("lost", 1)})
		require.False(t, res[1].JustEnded)
		require.True(t, res[2].JustEnded)
		require.Equal(t, 6, res[2].Job.Expected())
		require.Zero(t, res[2].Missing)
		found, _, err := s.Outcomes(t.Context(), "lost", 0, 10)
		require.NoError(t, err)
		require.Len(t, found, 6)
		require.Equal(t, eventpb.State_STATE_ANSWERED, found[0].GetState())
	})
}

// TestJobGivenUp: a chunker that gives a job up ends every question of it, planned or not.
func TestJobGivenUp(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		create(t, s, newJob("before", "a", "b"))
		unplanned := &eventpb.JobPlan{JobId: "before", Questions: 2, Windows: []*eventpb.Window{{}}}
		res := record(t, s, store.Entry{Plan: unplanned}, store.Entry{Outcome: givenUp("before", 0)}, store.Entry{Outcome: givenUp("before", 1)})
		require.True(t, res[2].JustEnded)
		require.Equal(t, store.Failed, res[2].Job.State)
		require.Equal(t, 2, res[2].Job.Expected())

		create(t, s, newJob("after", "a"))
		record(t, s, store.Entry{Plan: plan("after", 3, 1)}, store.Entry{Outcome: outcome("after", 0, 1, eventpb.State_STATE_ANSWERED)})
		last := record(t, s, store.Entry{Outcome: givenUp("after", 0)})[0]
		require.True(t, last.JustEnded)
		require.Equal(t, 2, last.New)
		require.Len(t, last.Outcomes, 3)
		require.Equal(t, store.Partial, last.Job.State)
		require.Equal(t, window(2).GetHash(), last.Outcomes[1].GetWindow().GetHash())
		require.Equal(t, event.OutcomeID("after", 0, 2), last.Outcomes[1].GetOutcomeId())
	})
}

// TestAQuestionWithoutTextStandsForAll: a stage ends with it what it cannot read of a record.
func TestAQuestionWithoutTextStandsForAll(t *testing.T) {
	t.Parallel()
	all := func(o *eventpb.Outcome) store.Entry {
		o.Question = &eventpb.Question{}
		return store.Entry{Outcome: o}
	}
	each(t, func(t *testing.T, s *store.SQL) {
		create(t, s, newJob("unplanned", "a", "b"))
		res := record(t, s, all(givenUp("unplanned", 0)))[0]
		require.True(t, res.JustEnded, "the chunker could not read the job")
		require.Equal(t, 2, res.New)
		require.Equal(t, []string{"a", "b"}, []string{res.Outcomes[0].GetQuestion().GetText(), res.Outcomes[1].GetQuestion().GetText()})
		require.Zero(t, res.Missing)

		create(t, s, newJob("window", "a", "b"))
		record(t, s, store.Entry{Plan: plan("window", 2, 2)}, store.Entry{Outcome: outcome("window", 1, 1, eventpb.State_STATE_ANSWERED)})
		res = record(t, s, all(outcome("window", 0, 1, eventpb.State_STATE_FAILED)))[0]
		require.False(t, res.JustEnded)
		require.Equal(t, 1, res.New, "one question of window 1 was open")
		require.Equal(t, 2, res.Job.Recorded())
		res = record(t, s, all(givenUp("window", 0)))[0]
		require.True(t, res.JustEnded)
		require.Equal(t, 2, res.New, "both questions of window 0")
		require.Equal(t, store.Partial, res.Job.State)

		require.True(t, record(t, s, all(outcome("window", 0, 7, eventpb.State_STATE_FAILED)))[0].Outside)
		create(t, s, newJob("before", "a", "b"))
		res = record(t, s, all(outcome("before", 0, 1, eventpb.State_STATE_FAILED)))[0]
		require.Equal(t, 2, res.New, "the window is known, the plan is still to come")
		require.True(t, res.Job.Planned.IsZero())
	})
}

func TestOutcomePages(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		create(t, s, newJob("j1", "q"))
		entries := all("j1", 7, 1, eventpb.State_STATE_ANSWERED)
		slices.Reverse(entries[1:])
		record(t, s, entries...)
		var windows []uint32
		for after := 0; ; {
			page, last, err := s.Outcomes(t.Context(), "j1", after, 3)
			require.NoError(t, err)
			if len(page) == 0 {
				require.Equal(t, after, last)
				break
			}
			for _, o := range page {
				windows = append(windows, o.GetWindow().GetIndex())
				require.Equal(t, "yes", o.GetAnswer())
			}
			after = last
		}
		require.Equal(t, []uint32{6, 5, 4, 3, 2, 1, 0}, windows, "in the order in which they were recorded")
	})
}

// TestRecordBesideCancel: recording and cancelling at once lose nothing of each other.
func TestRecordBesideCancel(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		const jobs = 16
		for i := range jobs {
			create(t, s, newJob(fmt.Sprint("j", i), "a", "b"))
		}
		var wg sync.WaitGroup
		for i := range jobs {
			id := fmt.Sprint("j", i)
			wg.Go(func() {
				for _, e := range all(id, 3, 2, eventpb.State_STATE_CANCELLED) {
					_, err := s.Record(t.Context(), []store.Entry{e})
					require.NoError(t, err)
				}
			})
			wg.Go(func() {
				_, err := s.Cancel(t.Context(), id, []event.Record{{Topic: "control", Key: id}}, nil)
				require.NoError(t, err)
			})
		}
		wg.Wait()
		l, err := s.Ledger(t.Context())
		require.NoError(t, err)
		require.Equal(t, store.Ledger{EndedJobs: jobs, Expected: 6 * jobs, Recorded: 6 * jobs}, l)
	})
}

// BenchmarkRecord writes outcomes of 8 jobs at once, 64 a transaction, as the recorder does under load.
func BenchmarkRecord(b *testing.B) {
	s := implementations["sqlite"](b)
	const windows = 4096
	var entries []store.Entry
	for n := 0; len(entries) < b.N; n++ {
		id := fmt.Sprintf("j%d", n)
		job := newJob(id, "q")
		job.Created = time.Now()
		require.NoError(b, s.Create(b.Context(), job, nil, store.CreateOptions{}))
		for w := range windows {
			entries = append(entries, store.Entry{Outcome: outcome(id, 0, w, eventpb.State_STATE_ANSWERED)})
		}
	}
	b.ResetTimer()
	for chunk := range slices.Chunk(entries[:b.N], 64) {
		_, err := s.Record(b.Context(), chunk)
		require.NoError(b, err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "outcomes/s")
}
