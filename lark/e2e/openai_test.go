package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/readers"
)

// openAI is OpenAI's own client of an installation.
func (s *stack) openAI(more ...option.RequestOption) openai.Client {
	return openai.NewClient(append([]option.RequestOption{option.WithBaseURL(s.gateway() + "/v1"), option.WithAPIKey(openAIKey()), option.WithMaxRetries(0)}, more...)...)
}

// openAIKey is the key that OpenAI's clients send; they insist on one.
func openAIKey() string {
	if key := adminKey(); key != "" {
		return key
	}
	return "none"
}

// writeTrack writes a track of which nothing is known yet.
func writeTrack(t *testing.T, seconds int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "track.wav")
	require.NoError(t, os.WriteFile(path, melody(seedOf(t), seconds), 0o600))
	return path
}

// TestOpenAIsPythonPackage speaks to the gateway with the package as it is published.
func TestOpenAIsPythonPackage(t *testing.T) {
	s := tester(t)
	schema := filepath.Join(t.TempDir(), "tags.json")
	require.NoError(t, os.WriteFile(schema, tags.JSONSchema(), 0o600))
	script, err := os.ReadFile(filepath.Join("testdata", "openai_client.py"))
	require.NoError(t, err)
	var jobs struct{ Job, Second string }
	require.NoError(t, json.Unmarshal(readers.Run(t, string(script), s.gateway()+"/v1", openAIKey(), writeTrack(t, 2), schema), &jobs))
	job, outcomes := s.finish(t, jobs.Job)
	require.Equal(t, map[string]string{"from": "python"}, job.Metadata)
	require.Equal(t, "miss", outcomes[0].Cache)
	_, outcomes = s.finish(t, jobs.Second)
	require.Equal(t, "hit", outcomes[0].Cache, "a follow-up question re-uses the embedding")
}

// about is a question about a track.
func about(track []byte, question string) openai.ChatCompletionMessageParamUnion {
	return openai.UserMessage([]openai.ChatCompletionContentPartUnionParam{
		openai.InputAudioContentPart(openai.ChatCompletionContentPartInputAudioInputAudioParam{Data: base64.StdEncoding.EncodeToString(track), Format: "wav"}),
		openai.TextContentPart(question),
	})
}

// TestOpenAIsGoModule speaks to the gateway with the module as it is published.
func TestOpenAIsGoModule(t *testing.T) {
	s, ctx := tester(t), t.Context()
	c := s.openAI()
	models, err := c.Models.List(ctx)
	require.NoError(t, err)
	require.Len(t, models.Data, 1)
	model, err := c.Models.Get(ctx, models.Data[0].ID)
	require.NoError(t, err)
	require.Equal(t, models.Data[0].ID, model.ID)

	track := melody(seedOf(t), 60) // three windows, and the whole track
	params := openai.ChatCompletionNewParams{Model: model.ID, Messages: []openai.ChatCompletionMessageParamUnion{about(track, "What is the tempo?")}, Temperature: openai.Float(0)}
	done, err := c.Chat.Completions.New(ctx, params)
	require.NoError(t, err)
	require.Len(t, done.Choices, 1)
	require.NotEmpty(t, done.Choices[0].Message.Content)
	require.Positive(t, done.Usage.PromptTokensDetails.AudioTokens)
	id := strings.TrimPrefix(done.ID, "chatcmpl-")
	job, outcomes := s.finish(t, id)
	require.Equal(t, client.StateSucceeded, job.State)
	require.Greater(t, job.Counts.Windows, 2)
	var prompt, audio int
	for _, o := range outcomes {
		prompt, audio = prompt+o.Tokens.Prompt, audio+o.Tokens.Audio
		if o.Combined != nil {
			require.Equal(t, o.Answer, done.Choices[0].Message.Content)
		}
	}
	require.EqualValues(t, prompt, done.Usage.PromptTokens)
	require.EqualValues(t, audio, done.Usage.PromptTokensDetails.AudioTokens)

	params.Messages = append(params.Messages, done.Choices[0].Message.ToParam(), openai.UserMessage("Are you sure?"))
	params.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
	stream := c.Chat.Completions.NewStreaming(ctx, params)
	var all openai.ChatCompletionAccumulator
	for stream.Next() {
		require.True(t, all.AddChunk(stream.Current()))
	}
	require.NoError(t, stream.Err())
	require.NotEmpty(t, all.Choices[0].Message.Content)
	require.Positive(t, all.Usage.PromptTokens)
	_, outcomes = s.finish(t, strings.TrimPrefix(all.ID, "chatcmpl-"))
	for _, o := range outcomes {
		require.True(t, o.Combined != nil || o.Cache == "hit", "a follow-up question re-uses the embeddings")
	}

	params.Model = "gpt-4o-audio-preview"
	_, err = c.Chat.Completions.New(ctx, params)
	var refused *openai.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, http.StatusNotFound, refused.StatusCode)
	require.Equal(t, "model_not_found", refused.Code)
	require.Equal(t, "model", refused.Param)
	_, err = c.Models.Get(ctx, "none")
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "model_not_found", refused.Code)
}

// TestAnOpenAIClientThatGoesAwayCancels: the job ends without its answers.
func TestAnOpenAIClientThatGoesAwayCancels(t *testing.T) {
	s := start(t, options{data: t.TempDir(), env: []string{"LARK_ENCODER_ENGINE=test", "LARK_ENCODER_TEST_DELAY=1h", "LARK_LLM_ENGINE=test"}})
	ctx, leave := context.WithCancel(t.Context())
	ended, c := make(chan error, 1), s.openAI()
	go func() {
		_, err := c.Chat.Completions.New(ctx, openai.ChatCompletionNewParams{Model: "lark-nano", Messages: []openai.ChatCompletionMessageParamUnion{about(melody(seedOf(t), 2), "q")}})
		ended <- err
	}()
	var job client.Job
	require.Eventually(t, func() bool {
		jobs, err := s.List(t.Context(), client.ListOptions{})
		if err == nil && len(jobs.Jobs) == 1 {
			job = jobs.Jobs[0]
		}
		return job.ID != "" && job.Counts.Windows > 0
	}, patience, poll)
	leave()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.Eventually(t, func() bool {
		now, err := s.Get(t.Context(), job.ID)
		return err == nil && now.State == client.StateCancelled
	}, patience, poll)
	_, err := s.Cancel(t.Context(), job.ID)
	require.NoError(t, err, "cancelling it again changes nothing")
}
