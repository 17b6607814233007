package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/readers"
	"github.com/larkstream/larkstream/lark/internal/up"
)

// TestBatchesByOpenAIsPythonPackage has a batch done with the package as it is published.
func TestBatchesByOpenAIsPythonPackage(t *testing.T) {
	s := tester(t)
	script, err := os.ReadFile(filepath.Join("testdata", "openai_batch.py"))
	require.NoError(t, err)
	readers.Run(t, string(script), s.gateway()+"/v1", openAIKey(), writeTrack(t, 2))
}

// batchOf is a batch of so many questions, each about a track of its own.
func (s *stack) batchOf(t *testing.T, c openai.Client, requests int) *openai.Batch {
	t.Helper()
	var lines bytes.Buffer
	for i := range requests {
		message, err := json.Marshal(about(melody(seedOf(t), 1), "What is the tempo?"))
		require.NoError(t, err)
		fmt.Fprintf(&lines, `{"custom_id":"r%d","method":"POST","url":"/v1/chat/completions","body":{"model":"lark-nano","messages":[%s]}}`+"\n", i, message)
	}
	file, err := c.Files.New(t.Context(), openai.FileNewParams{File: openai.File(&lines, "requests.jsonl", "application/jsonl"), Purpose: openai.FilePurposeBatch})
	require.NoError(t, err)
	batch, err := c.Batches.New(t.Context(), openai.BatchNewParams{InputFileID: file.ID, Endpoint: openai.BatchNewParamsEndpointV1ChatCompletions, CompletionWindow: openai.BatchNewParamsCompletionWindow24h})
	require.NoError(t, err)
	return batch
}

// batchEnds waits for a batch to come into a state; the gateway may be away in the meantime.
func batchEnds(t *testing.T, c openai.Client, id string, want openai.BatchStatus) *openai.Batch {
	t.Helper()
	var batch *openai.Batch
	require.Eventually(t, func() bool {
		now, err := c.Batches.Get(t.Context(), id)
		if err == nil {
			batch = now
		}
		return err == nil && now.Status == want
	}, patience, poll, "the batch is not %s", want)
	return batch
}

// results are the custom ids in a file of results, each of which may come once.
func results(t *testing.T, c openai.Client, file string) map[string]bool {
	t.Helper()
	ids := map[string]bool{}
	if file == "" {
		return ids
	}
	resp, err := c.Files.Content(t.Context(), file)
	require.NoError(t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	for line := range bytes.Lines(raw) {
		var result struct {
			ID string `json:"custom_id"`
		}
		require.NoError(t, json.Unmarshal(line, &result))
		require.False(t, ids[result.ID], "%s comes twice", result.ID)
		ids[result.ID] = true
	}
	return ids
}

// TestABatchSurvivesItsGateway: kill -9 of the gateway while a batch is being done neither loses a request nor does one twice.
func TestABatchSurvivesItsGateway(t *testing.T) {
	if world.kafka == nil {
		t.Skip("make test-integration runs it on the broker and the database that a batch must survive on")
	}
	const requests = 30
	s := start(t, options{data: t.TempDir(), env: testEngines()})
	c := s.openAI()
	batch := s.batchOf(t, c, requests)
	for _, done := range []int64{1, requests / 3, requests / 2} {
		require.Eventually(t, func() bool {
			now, err := c.Batches.Get(t.Context(), batch.ID)
			return err == nil && now.RequestCounts.Completed >= done
		}, patience, poll)
		s.kill(t, up.Gateway)
		s.ready(t)
		c = s.openAI()
	}
	batch = batchEnds(t, c, batch.ID, openai.BatchStatusCompleted)
	require.EqualValues(t, requests, batch.RequestCounts.Completed)
	require.Len(t, results(t, c, batch.OutputFileID), requests)
	require.Empty(t, batch.ErrorFileID)
	jobs, err := s.List(t.Context(), client.ListOptions{Limit: 100, Lane: "bulk"})
	require.NoError(t, err)
	require.Len(t, jobs.Jobs, requests, "one job for each request")
	require.Zero(t, s.metric(t, up.Gateway, "lark_ledger_imbalance"))
}

// TestACancelledBatchKeepsWhatItHas: answers stay in the output, and the other requests stand in the errors.
func TestACancelledBatchKeepsWhatItHas(t *testing.T) {
	const requests = 40
	s := start(t, options{data: t.TempDir(), env: []string{"LARK_ENCODER_ENGINE=test", "LARK_ENCODER_TEST_DELAY=200ms", "LARK_LLM_ENGINE=test"}})
	c := s.openAI()
	batch := s.batchOf(t, c, requests)
	require.Eventually(t, func() bool {
		now, err := c.Batches.Get(t.Context(), batch.ID)
		return err == nil && now.RequestCounts.Completed > 0
	}, patience, poll)
	_, err := c.Batches.Cancel(t.Context(), batch.ID)
	require.NoError(t, err)
	batch = batchEnds(t, c, batch.ID, openai.BatchStatusCancelled)
	kept, left := results(t, c, batch.OutputFileID), results(t, c, batch.ErrorFileID)
	require.NotEmpty(t, kept)
	require.Len(t, kept, int(batch.RequestCounts.Completed))
	require.Len(t, left, requests-len(kept))
	for id := range kept {
		require.False(t, left[id])
	}
}
