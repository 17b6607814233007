package event

import (
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// salvage makes a message of what can be read of a record that Decode refuses, so that the questions of its job end: the
// fields in front of the first damaged byte, and the job id of ce_subject where the value has none. What breaks a rule is left
// out. A window that cannot be told becomes a window without audio, which stands for the whole job (see docs/adr/0022). A
// record whose questions cannot be told gives one question without text, which stands for every question of the job. The
// result is nil for a record that names no job and for a type that carries no questions.
func salvage(rec Record) proto.Message {
	typ := rec.Get(HeaderType)
	if older := olderType(typ); older != "" {
		typ = older
	}
	msg := newMessage(typ)
	if msg != nil && len(rec.Value) <= MaxValueBytes {
		// Its error is known already; what was read before the fault is in the message.
		_ = proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(rec.Value, msg)
	}
	switch m := msg.(type) {
	case nil, *eventpb.WindowReady, *eventpb.EmbeddingReady, *eventpb.PromptReady:
		var task *eventpb.Task
		if w, ok := m.(interface{ GetTask() *eventpb.Task }); ok {
			task = w.GetTask()
		}
		return salvageTask(task, rec.Get(HeaderSubject))
	case *eventpb.Job:
		return salvageJob(m, rec.Get(HeaderSubject))
	}
	return nil
}

func salvageTask(t *eventpb.Task, subject string) proto.Message {
	out := &eventpb.Task{
		JobId: salvageID(t.GetJobId(), subject), Track: salvageTrack(t.GetTrack().GetSha256()), Window: &eventpb.Window{},
		Questions: salvageQuestions(t.GetQuestions()), CreatedUnixMs: salvageTime(t.GetCreatedUnixMs()), DeadlineUnixMs: salvageTime(t.GetDeadlineUnixMs()),
	}
	if out.GetJobId() == "" {
		return nil
	}
	if w := t.GetWindow(); hexPattern.MatchString(w.GetHash()) && validateWindow(w) == nil && validateNumbers(w) == nil {
		out.Window = w
	}
	return &eventpb.WindowReady{Task: out}
}

func salvageJob(j *eventpb.Job, subject string) proto.Message {
	out := &eventpb.Job{
		JobId: salvageID(j.GetJobId(), subject), Audio: &eventpb.Audio{Sha256: salvageTrack(j.GetAudio().GetSha256()).GetSha256()},
		Questions: salvageQuestions(j.GetQuestions()), CreatedUnixMs: salvageTime(j.GetCreatedUnixMs()), DeadlineUnixMs: salvageTime(j.GetDeadlineUnixMs()),
	}
	if out.GetJobId() == "" {
		return nil
	}
	if out.GetQuestions()[0].GetText() == "" { // a plan must not tell a number of questions that nobody knows
		return salvageTask(nil, out.GetJobId())
	}
	return out
}

func salvageID(id, subject string) string {
	for _, s := range []string{id, subject} {
		if idPattern.MatchString(s) {
			return s
		}
	}
	return ""
}

// salvageTime is a time that records may have, or none.
func salvageTime(unixMs int64) int64 {
	if unixMs < 0 || unixMs > maxUnixMs {
		return 0
	}
	return unixMs
}

func salvageTrack(sha256 string) *eventpb.Track {
	if !hexPattern.MatchString(sha256) {
		return &eventpb.Track{}
	}
	return &eventpb.Track{Sha256: sha256}
}

func salvageQuestions(qs []*eventpb.Question) []*eventpb.Question {
	var out []*eventpb.Question
	seen := make(map[uint32]bool)
	for _, q := range qs {
		if q.GetIndex() >= MaxQuestions || seen[q.GetIndex()] {
			continue
		}
		seen[q.GetIndex()] = true
		text := boundText(q.GetText())
		if text == "" {
			text = "?" // its text is lost, but it is a question of its own
		}
		out = append(out, &eventpb.Question{Index: q.GetIndex(), Text: text})
	}
	if len(out) == 0 {
		return []*eventpb.Question{{}}
	}
	return out
}
