package eval

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/larkstream/larkstream/engine/audio/cut"
	"github.com/larkstream/larkstream/engine/audio/plan"
	"github.com/larkstream/larkstream/engine/decoder"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lab/engines"
)

// Model answers questions about audio files. It hears one window of each, by LLark's rule (plan auto), and is safe for concurrent use.
type Model interface {
	// Name and Digest tell models apart; WindowS is the longest window in seconds.
	Name() string
	Digest() string
	WindowS() float64
	// Parallel is how many files to ask about at once.
	Parallel() int
	// Ask answers the questions in their order. A *FileError says that the file is at fault.
	Ask(ctx context.Context, path string, questions []string) ([]string, error)
	Close() error
}

// Scorer is a Model that tells how likely given answers are.
type Scorer interface {
	Model
	// AskAndScore is Ask with options beside the questions, whose likelihoods come in their order. The audio is encoded once for both.
	AskAndScore(ctx context.Context, path string, questions []string, options []Options) (answers []string, likelihoods [][]Likelihood, err error)
}

// Options are a question and texts, each of which is taken as its answer.
type Options struct {
	Question string   `json:"question"`
	Choices  []string `json:"choices"`
}

// Likelihood is how likely a choice is as the answer: the natural logarithm of its probability, the end of the answer included, and how many tokens that is of.
type Likelihood struct {
	Choice  string  `json:"choice"`
	LogProb float64 `json:"log_prob"`
	Tokens  int     `json:"tokens"`
}

// PerToken is the likelihood normalised by length.
func (l Likelihood) PerToken() float64 { return l.LogProb / float64(max(1, l.Tokens)) }

// FileError is the fault of one audio file.
type FileError struct{ Err error }

func (e *FileError) Error() string { return e.Err.Error() }
func (e *FileError) Unwrap() error { return e.Err }

// local runs the engines in this process.
type local struct{ set *engines.Set }

// OpenLocal opens a model bundle's engines in this process.
func OpenLocal(ctx context.Context, modelDir string) (Model, error) {
	set, err := engines.Open(ctx, modelDir)
	if err != nil {
		return nil, err
	}
	return &local{set}, nil
}

func (m *local) Name() string     { return m.set.Bundle.DisplayName() }
func (m *local) Digest() string   { return m.set.Bundle.Digest }
func (m *local) WindowS() float64 { return m.set.Bundle.Encoder.SpanS }
func (m *local) Parallel() int    { return runtime.GOMAXPROCS(0) }
func (m *local) Close() error     { return m.set.Close() }

func (m *local) Ask(ctx context.Context, path string, questions []string) ([]string, error) {
	answers, _, err := m.AskAndScore(ctx, path, questions, nil)
	return answers, err
}

func (m *local) AskAndScore(ctx context.Context, path string, questions []string, options []Options) (answers []string, likelihoods [][]Likelihood, err error) {
	fault := true // until the file is cut, it is the file's
	_, err = m.set.Cut(ctx, path, plan.Auto, func(w cut.FileWindow) error {
		fault = false
		prompt, err := m.set.Prompt(ctx, w.PCM)
		if err != nil {
			return err
		}
		if len(questions) > 0 {
			results, err := m.set.Answer(ctx, prompt, questions)
			if err != nil {
				return err
			}
			for _, r := range results {
				answers = append(answers, r.Text)
			}
		}
		if len(options) > 0 {
			likelihoods, err = m.score(ctx, prompt, options)
		}
		return err
	})
	if err != nil && fault && ctx.Err() == nil {
		return nil, nil, &FileError{err}
	}
	return answers, likelihoods, err
}

func (m *local) score(ctx context.Context, prompt tensor.Matrix, options []Options) ([][]Likelihood, error) {
	given := make([]decoder.Given, len(options))
	for i, o := range options {
		given[i] = decoder.Given{Question: o.Question, Answers: o.Choices}
	}
	told, err := m.set.Likelihoods(ctx, prompt, given)
	if err != nil {
		return nil, err
	}
	out := make([][]Likelihood, len(told))
	for i, of := range told {
		for k, l := range of {
			out[i] = append(out[i], Likelihood{options[i].Choices[k], l.LogProb, l.Tokens})
		}
	}
	return out, nil
}

// Gateway is what asking a deployment needs of it; *client.Client is one.
type Gateway interface {
	Submit(ctx context.Context, sub client.Submission, upload *client.Upload, opts client.SubmitOptions) (client.Job, error)
	Events(ctx context.Context, jobID, after string, fn func(client.Event) error) error
	Outcomes(ctx context.Context, jobID string) ([]client.Outcome, error)
	Models(ctx context.Context) ([]client.Model, error)
}

// remote asks a deployment.
type remote struct {
	gateway Gateway
	model   client.Model
}

// OpenServer asks a deployment through its gateway.
func OpenServer(ctx context.Context, gateway Gateway) (Model, error) {
	models, err := gateway.Models(ctx)
	if err != nil {
		return nil, err
	}
	if len(models) == 0 {
		return nil, errors.New("the gateway names no model: wait until its stages are ready")
	}
	return &remote{gateway, models[0]}, nil
}

func (m *remote) Name() string   { return m.model.ID }
func (m *remote) Digest() string { return m.model.Digest }
func (m *remote) WindowS() float64 {
	if m.model.WindowS > 0 {
		return m.model.WindowS
	}
	return plan.LeastWindowS
}

func (m *remote) Parallel() int { return 4 }
func (m *remote) Close() error  { return nil }

// jobQuestions is how many questions one job is asked.
const jobQuestions = 64

func (m *remote) Ask(ctx context.Context, path string, questions []string) ([]string, error) {
	var answers []string
	for from := 0; from < len(questions); from += jobQuestions {
		part, err := m.job(ctx, path, questions[from:min(len(questions), from+jobQuestions)])
		if err != nil {
			return nil, err
		}
		answers = append(answers, part...)
	}
	return answers, nil
}

func (m *remote) job(ctx context.Context, path string, questions []string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, &FileError{err}
	}
	defer file.Close()
	sub := client.Submission{Questions: questions, Plan: client.PlanAuto, AudioName: filepath.Base(path)}
	job, err := Submit(ctx, m.gateway, sub, "audio"+filepath.Ext(path), file)
	if err != nil {
		return nil, err
	}
	if err := m.gateway.Events(ctx, job.ID, "", func(client.Event) error { return nil }); err != nil {
		return nil, err
	}
	outcomes, err := m.gateway.Outcomes(ctx, job.ID)
	if err != nil {
		return nil, err
	}
	answers := make([]string, len(questions))
	for _, o := range outcomes {
		if o.State != client.OutcomeAnswered {
			return nil, refused(job.ID, o)
		}
		if o.QuestionIndex < len(answers) && o.Window.Index == 0 {
			answers[o.QuestionIndex] = o.Answer
		}
	}
	return answers, nil
}

// Tries of a submission that the gateway refuses for now, because it has enough to do: a minute and a half in all.
const (
	submitTries = 8
	firstPause  = 700 * time.Millisecond
)

// Submit submits a job about an audio file, and again while the gateway has enough to do. The name's ending tells the file's format; the file is read from its beginning.
func Submit(ctx context.Context, gateway Gateway, sub client.Submission, name string, file io.ReadSeeker) (client.Job, error) {
	for try, pause := 1, firstPause; ; try, pause = try+1, 2*pause {
		job, err := gateway.Submit(ctx, sub, &client.Upload{Name: name, Reader: file}, client.SubmitOptions{})
		var problem *client.Problem
		if err == nil || !errors.As(err, &problem) || !problem.Retryable || try == submitTries {
			return job, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return job, context.Cause(ctx)
		case <-timer.C:
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return job, err
		}
	}
}

// refused is the error of an outcome without an answer; its code tells whether the file is at fault.
func refused(job string, o client.Outcome) error {
	if o.Error == nil {
		return fmt.Errorf("job %s ended as %s", job, o.State)
	}
	err := fmt.Errorf("job %s ended as %s: %s: %s", job, o.State, o.Error.Code, o.Error.Message)
	if strings.HasPrefix(o.Error.Code, "audio_") || o.Error.Code == "needs_ffmpeg" {
		return &FileError{err}
	}
	return err
}
