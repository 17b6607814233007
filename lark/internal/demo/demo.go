// Package demo shows the system's main job on a piece of music that comes with it: questions go through the gateway and
// all stages, then a new question about the same track goes past the encoder.
package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
)

// Gateway is what the demo needs of a gateway; *client.Client is one.
type Gateway interface {
	Submit(ctx context.Context, sub client.Submission, upload *client.Upload, opts client.SubmitOptions) (client.Job, error)
	Events(ctx context.Context, jobID, after string, fn func(client.Event) error) error
	Outcomes(ctx context.Context, jobID string) ([]client.Outcome, error)
}

var _ Gateway = (*client.Client)(nil)

// Config of a run.
type Config struct {
	// Piece is the folder of the piece: larksong.mp3 and larksong.json, its labels.
	Piece string
	// EncoderMetrics is the URL of the encoder's /metrics.
	EncoderMetrics string
	Out            io.Writer
}

// labels are what the piece's score says.
type labels struct {
	File     string   `json:"file"`
	TempoBPM float64  `json:"tempo_bpm"`
	Key      string   `json:"key"`
	Mode     string   `json:"mode"`
	Metre    string   `json:"metre"`
	Families []string `json:"families"`
	Drums    bool     `json:"drums"`
}

// step is a question and what the score says about it.
type step struct{ question, truth string }

func (l labels) first() []step {
	drums := "no drums"
	if l.Drums {
		drums = "drums"
	}
	return []step{
		{"How fast is this piece?", fmt.Sprintf("%g BPM", l.TempoBPM)},
		{"What key is it in?", l.Key + " " + l.Mode},
		{"Are there drums?", drums},
		{"Which instruments do you hear?", strings.Join(l.Families, ", ")},
		{"Describe the music in one sentence.", ""},
		{"Who is the artist, and what year is it from?", "not in the audio"},
	}
}

func (l labels) second() []step { return []step{{"Is this in 3/4 or in 4/4?", l.Metre}} }

// PieceFolder finds the folder of the piece that comes with a model: demo beside the model's folder.
func PieceFolder(modelDir string) (string, error) {
	dir := filepath.Join(filepath.Dir(filepath.Clean(modelDir)), "demo")
	if _, err := os.Stat(filepath.Join(dir, "larksong.json")); err != nil {
		return "", fmt.Errorf("finding the demo's piece beside the model: %w; run the demo from a checkout", err)
	}
	return dir, nil
}

// Run asks, prints, and checks: every question must be answered and the second job must not reach the encoder.
func Run(ctx context.Context, gw Gateway, cfg Config) error {
	truth, err := readLabels(cfg.Piece)
	if err != nil {
		return err
	}
	track := filepath.Join(cfg.Piece, truth.File)
	fmt.Fprintf(cfg.Out, "A first look at %s (composed for this project; its score is known):\n\n", truth.File)
	if _, err := ask(ctx, gw, cfg.Out, track, truth.first()); err != nil {
		return err
	}
	before, err := encoderRuns(ctx, cfg.EncoderMetrics)
	if err != nil {
		return err
	}
	fmt.Fprint(cfg.Out, "A new question about the same track:\n\n")
	outcomes, err := ask(ctx, gw, cfg.Out, track, truth.second())
	if err != nil {
		return err
	}
	after, err := encoderRuns(ctx, cfg.EncoderMetrics)
	if err != nil {
		return err
	}
	hit := outcomes[0].Cache == event.CacheHit
	fmt.Fprintf(cfg.Out, "encoder runs: %d before, %d after; cache %s\n", before, after, outcomes[0].Cache)
	if !hit || before != after {
		return errors.New("the second question reached the encoder: its embedding should have been found")
	}
	return nil
}

func readLabels(dir string) (labels, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "larksong.json"))
	if err != nil {
		return labels{}, fmt.Errorf("reading the piece's labels: %w", err)
	}
	var l labels
	if err := json.Unmarshal(raw, &l); err != nil {
		return labels{}, fmt.Errorf("reading the piece's labels: %w", err)
	}
	return l, nil
}

// ask submits one job, waits for its end and prints its answers.
func ask(ctx context.Context, gw Gateway, out io.Writer, track string, steps []step) ([]client.Outcome, error) {
	file, err := os.Open(track)
	if err != nil {
		return nil, fmt.Errorf("opening track: %w", err)
	}
	defer file.Close()
	questions := make([]string, len(steps))
	for i, s := range steps {
		questions[i] = s.question
	}
	upload := &client.Upload{Name: filepath.Base(track), Reader: file}
	job, err := gw.Submit(ctx, client.Submission{Questions: questions}, upload, client.SubmitOptions{})
	if err != nil {
		return nil, err
	}
	if err := gw.Events(ctx, job.ID, "", func(client.Event) error { return nil }); err != nil {
		return nil, err
	}
	outcomes, err := gw.Outcomes(ctx, job.ID)
	if err != nil {
		return nil, err
	}
	if len(outcomes) != len(steps) {
		return nil, fmt.Errorf("job %s has %d outcomes for %d questions", job.ID, len(outcomes), len(steps))
	}
	slices.SortFunc(outcomes, func(a, b client.Outcome) int { return a.QuestionIndex - b.QuestionIndex })
	return outcomes, show(out, steps, outcomes)
}

func show(out io.Writer, steps []step, outcomes []client.Outcome) error {
	for i, o := range outcomes {
		if o.State != client.OutcomeAnswered {
			return fmt.Errorf("%q was not answered: %s: %s", o.Question, o.Error.Code, o.Error.Message)
		}
		fmt.Fprintf(out, "  %s\n    %s\n", o.Question, o.Answer)
		if steps[i].truth != "" {
			fmt.Fprintf(out, "    (score: %s)\n", steps[i].truth)
		}
	}
	last := slices.MaxFunc(outcomes, func(a, b client.Outcome) int { return a.EndedAt.Compare(b.EndedAt) })
	fmt.Fprintf(out, "\n  %s\n  model %s, seconds %g to %g of the track, trace %s\n\n",
		path(last), last.Model, last.Window.StartS, last.Window.EndS, last.TraceID)
	return nil
}

// path is the way of one outcome through the stages, with the milliseconds of work in each.
func path(o client.Outcome) string {
	t := o.Timings
	encoder := fmt.Sprintf("encoder %.0f ms", t.Encode)
	if o.Cache == event.CacheHit {
		encoder = "(encoder skipped: embedding cached)"
	}
	return fmt.Sprintf("gateway -> chunker %.0f ms -> %s -> projector %.0f ms -> llm prefill %.0f ms + decode %.0f ms; queues %.0f ms, total %.0f ms",
		t.Chunk, encoder, t.Project, t.Prefill, t.Decode, t.Queue, t.Total)
}

const (
	runsMetric     = "lark_encoder_runs_total"
	metricsTimeout = 10 * time.Second
	maxMetrics     = 4 << 20
)

// encoderRuns is the number of windows that the encoder has encoded since it started.
func encoderRuns(ctx context.Context, url string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("reading encoder metrics: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("reading encoder metrics: %w", err)
	}
	defer resp.Body.Close()
	total := 0
	lines := bufio.NewScanner(io.LimitReader(resp.Body, maxMetrics))
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), runsMetric) {
			continue
		}
		fields := strings.Fields(lines.Text())
		v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			return 0, fmt.Errorf("reading encoder metrics: %w", err)
		}
		total += int(v)
	}
	return total, lines.Err()
}
