package e2e

import (
	"bytes"
	"context"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/up"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/event"
)

// testLlamaTags asks random weights for tags: only the grammar makes tags of what they say.
func (s *stack) testLlamaTags(t *testing.T) {
	job := s.submit(t, melody(seedOf(t), 3), client.Submission{Options: client.Options{ResponseSchema: client.SchemaTags}, Plan: client.PlanExplicit, Spans: spans(3)})
	job, outcomes := s.finish(t, job.ID)
	require.Equal(t, client.StateSucceeded, job.State, "%+v", outcomes)
	for _, o := range outcomes {
		parsed, err := tags.Parse([]byte(o.Answer))
		require.NoError(t, err)
		require.Equal(t, parsed, *o.Tags)
	}
}

// testTooLong asks the longest question that the API takes, whose characters are several tokens each, beside a short one.
func (s *stack) testTooLong(t *testing.T) {
	long := strings.Repeat("♫", 2000)
	job := s.submit(t, melody(seedOf(t), 2), client.Submission{Questions: []string{long, "What is the tempo?"}, Decode: &client.Decode{MaxTokens: 5}})
	job, outcomes := s.finish(t, job.ID)
	require.Equal(t, client.StatePartial, job.State)
	for _, o := range outcomes {
		if o.QuestionIndex == 1 {
			require.Equal(t, client.OutcomeAnswered, o.State)
			continue
		}
		require.Equal(t, client.OutcomeFailed, o.State)
		require.Equal(t, event.CodePromptTooLong, o.Error.Code)
		require.Contains(t, o.Error.Message, "the model's context is 2048")
	}
}

// testPoisonedPrompt puts a soft prompt of another width where the one of a window is kept, and fails to put NaN there.
func (s *stack) testPoisonedPrompt(t *testing.T, bundle string) {
	b, err := model.Read(bundle)
	require.NoError(t, err)
	store, err := blob.Open(t.Context(), s.folder.BlobURL())
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	prompts := cache.NewBlob(store, cache.F32)
	track := melody(seedOf(t), 2)
	ask := func(question string) client.Outcome { // not asked before, or the answer may be at hand
		job := s.submit(t, track, client.Submission{Questions: []string{question}, Decode: &client.Decode{MaxTokens: 5}})
		_, outcomes := s.finish(t, job.ID)
		require.Len(t, outcomes, 1)
		return outcomes[0]
	}
	good := ask("What is the tempo?")
	require.Equal(t, client.OutcomeAnswered, good.State)
	key := b.PromptKey(good.Window.Hash)
	soft, err := prompts.Get(t.Context(), key, cache.Shape{})
	require.NoError(t, err)
	poisoned := tensor.Matrix{Rows: soft.Rows, Cols: soft.Cols, Data: append([]float32{float32(math.NaN())}, soft.Data[1:]...)}
	narrow := tensor.Matrix{Rows: soft.Rows, Cols: 1, Data: make([]float32, soft.Rows)}
	require.ErrorContains(t, prompts.Put(t.Context(), key, poisoned), "NaN or infinity")
	require.NoError(t, prompts.Put(t.Context(), key, narrow))
	forgetHot(t)
	require.Equal(t, client.OutcomeAnswered, ask("What is the metre?").State, "it is discarded, and the projector makes it anew")
	require.NoError(t, store.Delete(t.Context(), key))
	forgetHot(t)
	require.Equal(t, client.OutcomeAnswered, ask("Which instruments?").State, "the projector makes it anew")
}

// forgetHot empties the cache before the blobs.
func forgetHot(t *testing.T) {
	t.Helper()
	if world.redis != nil {
		_, err := world.redis.do(t.Context(), "FLUSHALL")
		require.NoError(t, err)
	}
}

// testCutOff cuts the file that llama.cpp has mapped into its memory, which ends llm-svc whatever it does. The others stay
// up, and when the file is whole again the question that was in hand is answered.
func (s *stack) testCutOff(t *testing.T, bundle string) {
	b, err := model.Read(bundle)
	require.NoError(t, err)
	whole, err := os.ReadFile(b.LLMPath())
	require.NoError(t, err)
	pids := s.pids()
	require.NoError(t, os.Truncate(b.LLMPath(), int64(len(whole)/2)))
	job := s.submit(t, melody(seedOf(t), 2), client.Submission{Questions: []string{"What is the tempo?"}, Decode: &client.Decode{MaxTokens: 5}})
	require.Eventually(t, func() bool { return strings.Contains(s.said(up.LLM), "it is damaged or of another version") }, patience, poll)
	require.Error(t, readyAt(t.Context(), s.addr(up.LLM)))
	require.Zero(t, s.ended(t, job.ID))
	require.NoError(t, os.WriteFile(b.LLMPath(), whole, 0o600))
	job, _ = s.finish(t, job.ID)
	require.Equal(t, client.StateSucceeded, job.State)
	s.requireSurvived(t, pids)
}

// said is what a stage has printed.
func (s *stack) said(stage string) string {
	raw, err := os.ReadFile(s.folder.LogPath(stage))
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

// TestUpRefusesABadModel starts on bundles whose digests are right and whose files are not.
func TestUpRefusesABadModel(t *testing.T) {
	if world.kafka != nil {
		t.Skip("lark up has its own broker")
	}
	good := randomLlama(t)
	for name, v := range map[string]struct {
		damage func(t *testing.T, b *model.Bundle)
		says   []string
	}{
		"a GGUF that is cut off":       {cutGGUF, []string{"starting llm", "loading model", "llm.gguf"}},
		"a projector of another width": {narrowProjector, []string{"starting projector", "opening projector", "model.mm_projector.weight"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := t.TempDir()
			require.NoError(t, os.CopyFS(bad, os.DirFS(good)))
			b, err := model.Load(bad)
			require.NoError(t, err)
			v.damage(t, b)
			require.NoError(t, b.Seal(bad))
			said := refused(t, bad)
			for _, part := range v.says {
				require.Contains(t, said, part)
			}
		})
	}
}

func cutGGUF(t *testing.T, b *model.Bundle) {
	t.Helper()
	info, err := os.Stat(b.LLMPath())
	require.NoError(t, err)
	require.NoError(t, os.Truncate(b.LLMPath(), info.Size()/2))
}

func narrowProjector(t *testing.T, b *model.Bundle) {
	t.Helper()
	out := b.Projector.Out / 2
	require.NoError(t, model.WriteSafetensors(b.ProjectorPath(), []model.Tensor{
		{Name: "model.mm_projector.weight", DType: "F32", Shape: []int{out, b.Projector.In}, Data: make([]float32, out*b.Projector.In)},
		{Name: "model.mm_projector.bias", DType: "F32", Shape: []int{out}, Data: make([]float32, out)},
	}))
}

// refused runs lark up, which must give up, and returns what it said at last.
func refused(t *testing.T, bundle string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(world.bin, "lark"), "up", "--data", t.TempDir(), "--addr", "127.0.0.1:0")
	cmd.Env = append((&stack{}).environ(), llamaEnv(t, bundle)...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Discard, &said
	err := cmd.Run()
	require.NoError(t, ctx.Err())
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "%s", &said)
	require.Equal(t, 1, exit.ExitCode(), "%s", &said)
	return said.String()
}
