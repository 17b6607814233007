package survey_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/storetest"
	"github.com/larkstream/larkstream/gateway/internal/survey"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/source"
)

// wav is a mono file of 1000 Hz with so many seconds of one level, and a chunk of text before its samples.
func wav(seconds int, level byte, text string) []byte {
	le := binary.LittleEndian
	out := []byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00")
	out = le.AppendUint32(out, 1000)
	out = le.AppendUint32(out, 2000)
	out = append(out, 2, 0, 16, 0)
	out = append(le.AppendUint32(append(out, "LIST"...), uint32(len(text))), text...)
	out = le.AppendUint32(append(out, "data"...), uint32(2000*seconds))
	return append(out, bytes.Repeat([]byte{level}, 2000*seconds)...)
}

// TestALookTellsWhatARunWouldMeet: faults have the codes that a run gives them, equal sound is told whatever the tags say, and what an earlier job of the
// same tenant has left is counted, once its file has been read.
func TestALookTellsWhatARunWouldMeet(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	files := map[string][]byte{
		"a.wav": wav(90, 1, "one!"), "tagged.wav": wav(90, 1, "other"+"!"), "b.wav": wav(30, 2, "one!"), "huge.wav": wav(600, 3, "one!"), "empty.wav": {}, "text.mp3": []byte("no music at all\n"),
	}
	names := []string{"a.wav", "tagged.wav", "b.wav", "huge.wav", "empty.wav", "text.mp3", "missing.wav"}
	var items []store.Item
	for _, name := range names {
		if data, ok := files[name]; ok {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
		}
		items = append(items, store.Item{ID: name, URI: source.FileURI(filepath.Join(dir, name))})
	}
	jobs, err := store.Open(ctx, storetest.URL(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, jobs.Close()) })
	places, err := source.New([]string{dir})
	require.NoError(t, err)
	bundle := &model.Bundle{Digest: "digest"}
	bundle.Encoder = model.Encoder{ID: "enc", SHA256: strings.Repeat("a", 64), Precision: "f32", SpanS: 25, Width: 8}
	stored := map[string]bool{bundle.EmbeddingKey("w0"): true, bundle.EmbeddingKey("w1"): true}
	s, err := survey.New(survey.Deps{
		Store: jobs, Sources: places, Bundle: bundle, Readers: 2, MaxBytes: 500_000, Stored: func(_ context.Context, key string) (bool, error) { return stored[key], nil },
	})
	require.NoError(t, err)

	sum := sha256.Sum256(files["a.wav"])
	spec := store.RunSpec{Questions: []string{"key?", "tempo?"}, Plan: event.PlanAll}
	job := store.NewJob(event.TenantDefault, event.JobSpec{
		ID: "j", Plan: event.PlanAll, Questions: []string{"key?"}, Created: time.Now(), Audio: event.AudioFile{SHA256: hex.EncodeToString(sum[:]), Bytes: 7},
	}, "")
	require.NoError(t, jobs.Create(ctx, job, nil, store.CreateOptions{}))
	planned := &eventpb.JobPlan{JobId: "j", Questions: 1, Track: &eventpb.Track{DurationS: 90}}
	entries := []store.Entry{{Plan: planned}}
	for i, hash := range []string{"w0", "w1", "w2", "w3"} {
		w := &eventpb.Window{Index: uint32(i), Hash: hash, Span: &eventpb.Span{StartS: float64(25 * i), EndS: float64(25*i + 25)}, HeardS: 25}
		planned.Windows = append(planned.Windows, w)
		entries = append(entries, store.Entry{Outcome: &eventpb.Outcome{
			OutcomeId: event.OutcomeID("j", 0, uint32(i)), JobId: "j", Question: &eventpb.Question{Text: "key?"}, Window: w, State: eventpb.State_STATE_ANSWERED, Answer: "C", ModelDigest: "digest",
			Cache: eventpb.Cache_CACHE_MISS, Timings: &eventpb.Timings{EncodeMs: 500, PrefillMs: 100, DecodeMs: 200}, Tokens: &eventpb.Tokens{Prompt: 40, Output: 10},
		}})
	}
	_, err = jobs.Record(ctx, entries)
	require.NoError(t, err)

	looks, err := s.Look(ctx, event.TenantDefault, spec, items, true, time.Now().Add(time.Hour))
	require.NoError(t, err)
	var codes []string
	for _, p := range looks {
		codes = append(codes, p.Code)
	}
	require.Equal(t, []string{"", "", "", event.CodeAudioTooLarge, event.CodeAudioEmpty, event.CodeAudioUndecodable, event.CodeSourceMissing}, codes)
	a, tagged, b := looks[0], looks[1], looks[2]
	require.Equal(t, []any{90.0, 4, 100.0, 2, 8, 4}, []any{a.DurationS, a.Windows, a.HeardS, a.WindowsKnown, a.Answers, a.AnswersKnown})
	require.Equal(t, a.Sound, tagged.Sound)
	require.NotEqual(t, a.SHA256, tagged.SHA256)
	require.NotEqual(t, a.Sound, b.Sound)
	require.Equal(t, []int{2, 0, 0}, []int{b.Windows, b.WindowsKnown, b.AnswersKnown})

	other, err := s.Look(ctx, "other", spec, items[:1], true, time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Zero(t, other[0].WindowsKnown+other[0].AnswersKnown, "what other tenants have asked is not told")
	first, err := s.Look(ctx, event.TenantDefault, spec, items, false, time.Now().Add(-time.Hour))
	require.NoError(t, err)
	require.Len(t, first, 1, "a request has bounded time")
	require.Equal(t, client.PlannedItem{ID: "a.wav", Format: "wav", Bytes: int64(len(files["a.wav"])), DurationS: 90, Windows: 4, HeardS: 100, Answers: 8}, first[0])

	rates, err := jobs.MeasuredRates(ctx, event.TenantDefault, "digest", "")
	require.NoError(t, err)
	require.InDeltaSlice(t, []float64{4, 4, 0.5, 0.3, 40, 10}, []float64{float64(rates.Windows), float64(rates.Answers), rates.EncoderS, rates.DecoderS, rates.PromptTokens, rates.OutputTokens}, 1e-9)
}
