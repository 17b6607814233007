package eval

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/audio/cut"
	"github.com/larkstream/larkstream/engine/audio/plan"
	"github.com/larkstream/larkstream/engine/mir"
)

// Config says what to measure.
type Config struct {
	// Set is the folder that holds set.jsonl.
	Set string
	// Tasks to measure; empty = DefaultTasks.
	Tasks []string
	// Questions is a JSON file of wordings by task; empty = the default ones.
	Questions string
	// Choices says how multiple choices are answered, ChoicesText or ChoicesLikelihood or both; empty = by text. The likelihood needs a Scorer.
	Choices []string
	// Limit measures only the first clips; 0 = all.
	Limit int
	// Seed of shuffles, noise and intervals.
	Seed uint64
	// Cache is a file of kept answers; empty = none.
	Cache string
	// Judge compares captions; nil = no win rate.
	Judge Judge
	// Rival are the captions to win against by clip; nil = the labelled ones.
	Rival map[string]string
	// Progress is told how many of all steps are done. Optional; called from several goroutines, one at a time.
	Progress func(done, of int)
}

// Judge says which of two captions describes the reference better.
type Judge interface {
	// Prefer returns 1 for the first, -1 for the second, 0 for a tie. ok = false: its answer could not be read.
	Prefer(ctx context.Context, reference, first, second string) (preferred int, ok bool, err error)
}

// Run asks the model about every clip and scores the answers. Clip i gets wording i of each kind of question in turn, so that a run can be
// repeated. A clip that cannot be decoded is left out and named in the report; any other fault ends the run.
func Run(ctx context.Context, model Model, cfg Config) (rep Report, err error) {
	if err := CheckTasks(cfg.Tasks); err != nil {
		return Report{}, err
	}
	cfg.Tasks = withFacts(cfg.Tasks)
	if len(cfg.Choices) == 0 {
		cfg.Choices = []string{ChoicesText}
	}
	if err := CheckChoices(cfg.Choices); err != nil {
		return Report{}, err
	}
	if _, ok := model.(Scorer); !ok && slices.Contains(cfg.Choices, ChoicesLikelihood) {
		return Report{}, errors.New("answering multiple choices by likelihood needs a model in this process: a deployment tells texts and no probabilities")
	}
	set, err := ReadSet(cfg.Set, cfg.Limit)
	if err != nil {
		return Report{}, err
	}
	wordings, err := ReadWordings(cfg.Questions)
	if err != nil {
		return Report{}, err
	}
	files, err := audio.NewDecoder(ctx, audio.DefaultConfig())
	if err != nil {
		return Report{}, err
	}
	cache, err := openCache(cfg.Cache)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, cache.close()) }()
	r := &run{
		cfg: cfg, set: set, model: model, wordings: wordings, cache: cache, cutter: cut.New(files, ""), ffmpeg: files.FFmpeg(),
		heard: make([]heard, len(set.Clips)),
	}
	r.closed = slices.DeleteFunc(closedTasks(r.genres()), func(c closed) bool { return !slices.Contains(cfg.Tasks, c.name) })
	r.swaps = r.swapped()
	if err := r.ask(ctx); err != nil {
		return Report{}, err
	}
	return r.report(ctx)
}

// heard is what was learnt of one clip.
type heard struct {
	// answers by question.
	answers map[string]string
	// likelihoods of choices by the question with its choices.
	likelihoods map[string][]Likelihood
	mir         mir.Result
	// changed is what was learnt of changed audio, by variant.
	changed map[string]changed
	// fault is why the clip is left out.
	fault error
}

// changed is what was learnt of a clip in one variant.
type changed struct {
	answers map[string]string
	mir     mir.Result
}

// run is one evaluation.
type run struct {
	cfg      Config
	set      *Set
	model    Model
	wordings Wordings
	cache    *answerCache
	cutter   *cut.Cutter
	ffmpeg   string
	closed   []closed
	heard    []heard
	// swaps are the clips whose audio answers a clip's multiple choice for grounding.
	swaps map[int]int
	mu    sync.Mutex
	done  int
}

func (r *run) does(task string) bool { return slices.Contains(r.cfg.Tasks, task) }

// genres are all genres that the set names.
func (r *run) genres() []string {
	var out []string
	for _, c := range r.set.Clips {
		if g := plain(c.Labels.Genre); g != "" && !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	return out
}

// shuffler is a generator for one clip and purpose.
func shuffler(seed uint64, clip string, number int) *rand.Rand {
	h := uint64(14695981039346656037) // FNV-1a
	for _, b := range []byte(clip) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, h+uint64(number))) //nolint:gosec // repeatable on purpose
}

// ask asks about all clips.
func (r *run) ask(ctx context.Context) error {
	if r.does(TaskRobustness) && r.ffmpeg == "" {
		return errors.New("robustness needs ffmpeg, which is not installed: install it, or leave the task out with --tasks")
	}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(max(1, r.model.Parallel()))
	r.step(0)
	for i := range r.set.Clips {
		work.Go(func() error {
			err := r.clip(ctx, i)
			var ofFile *FileError
			if errors.As(err, &ofFile) {
				r.heard[i].fault, err = ofFile, nil
			}
			r.step(1)
			if err != nil {
				return fmt.Errorf("asking about clip %s: %w", r.set.Clips[i].ID, err)
			}
			return nil
		})
	}
	return work.Wait()
}

func (r *run) step(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done += n
	if r.cfg.Progress != nil {
		r.cfg.Progress(r.done, len(r.set.Clips))
	}
}

// clip asks about one clip, as it is and changed, and measures it.
func (r *run) clip(ctx context.Context, i int) (err error) {
	h, path := &r.heard[i], r.set.Path(r.set.Clips[i])
	if h.answers, h.likelihoods, err = r.answers(ctx, path, r.questions(i), r.options(i)); err != nil {
		return err
	}
	facts := r.facts(i)
	robust := r.does(TaskRobustness) && len(facts) > 0
	if !robust && !slices.ContainsFunc(facts, func(c closed) bool { return c.mir != nil }) {
		return nil
	}
	pcm, err := r.window(ctx, path)
	if err != nil {
		return err
	}
	h.mir, _ = mir.Analyse(pcm)
	if robust {
		return r.change(ctx, i, pcm, facts)
	}
	return nil
}

// window is the PCM of the one window that a model hears of a file.
func (r *run) window(ctx context.Context, path string) (pcm []int16, err error) {
	_, err = r.cutter.CutFile(ctx, path, plan.NewRule(plan.Auto, nil, plan.Hearing{SpanS: r.model.WindowS(), Rate: plan.SampleRate}), func(w cut.FileWindow) error {
		pcm = w.PCM
		return nil
	})
	if err != nil && ctx.Err() == nil {
		return nil, &FileError{err}
	}
	return pcm, err
}

// answers asks what is not kept, questions and the likelihoods of options.
func (r *run) answers(ctx context.Context, path string, questions []string, options []Options) (map[string]string, map[string][]Likelihood, error) {
	out, likely := map[string]string{}, map[string][]Likelihood{}
	if len(questions)+len(options) == 0 {
		return out, likely, nil
	}
	sum, err := sumOf(path)
	if err != nil {
		return nil, nil, &FileError{err}
	}
	var missing []string
	for _, q := range questions {
		if a, ok := r.cache.get(cacheKey(r.model.Digest(), sum, q)); ok {
			out[q] = a
		} else {
			missing = append(missing, q)
		}
	}
	var unread []Options
	for _, o := range options {
		if l, ok := r.keptLikelihoods(sum, o); ok {
			likely[o.key()] = l
		} else {
			unread = append(unread, o)
		}
	}
	texts, told, err := r.askModel(ctx, path, missing, unread)
	if err != nil {
		return nil, nil, err
	}
	for k, q := range missing {
		out[q] = texts[k]
		err = errors.Join(err, r.cache.put(cacheKey(r.model.Digest(), sum, q), texts[k]))
	}
	for k, o := range unread {
		likely[o.key()] = told[k]
		err = errors.Join(err, r.keepLikelihoods(sum, o, told[k]))
	}
	return out, likely, err
}

// askModel asks the model and counts what it says.
func (r *run) askModel(ctx context.Context, path string, questions []string, options []Options) (texts []string, told [][]Likelihood, err error) {
	switch scorer, _ := r.model.(Scorer); {
	case len(options) > 0:
		texts, told, err = scorer.AskAndScore(ctx, path, questions, options)
	case len(questions) > 0:
		texts, err = r.model.Ask(ctx, path, questions)
	}
	switch {
	case err != nil:
		return nil, nil, err
	case len(texts) != len(questions):
		return nil, nil, fmt.Errorf("the model gave %d answers to %d questions", len(texts), len(questions))
	case len(told) != len(options):
		return nil, nil, fmt.Errorf("the model gave likelihoods of %d questions, asked about %d", len(told), len(options))
	}
	for k, o := range options {
		if len(told[k]) != len(o.Choices) {
			return nil, nil, fmt.Errorf("the model gave %d likelihoods of %d choices", len(told[k]), len(o.Choices))
		}
	}
	return texts, told, nil
}

// facts are the closed tasks for which a clip has a label.
func (r *run) facts(i int) []closed {
	return slices.DeleteFunc(slices.Clone(r.closed), func(c closed) bool {
		_, ok := c.want(r.set.Clips[i].Labels)
		return !ok
	})
}

// questions are all that a clip's audio is asked, each once.
func (r *run) questions(i int) []string {
	clip := r.set.Clips[i]
	var out []string
	for _, c := range r.facts(i) {
		out = append(out, r.wordings.pick(c.name, i))
		if r.varied(c.name) {
			out = append(out, r.wordings[c.name][:wordingsPerFact]...)
		}
	}
	if r.does(TaskCaptions) && len(clip.Labels.References()) > 0 {
		out = append(out, r.wordings.pick(TaskCaptions, i))
	}
	if r.does(TaskUnanswerable) && clip.Labels.Unanswerable {
		out = append(out, r.wordings.pick(TaskUnanswerable, i))
	}
	if r.chooses(ChoicesText) {
		out = append(out, r.choices(i)...)
		if from, ok := r.swaps[i]; ok {
			out = append(out, r.choices(from)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (r *run) choices(i int) []string {
	var out []string
	for n, q := range r.set.Clips[i].Labels.MultipleChoice {
		out = append(out, q.ask(r.cfg.Seed, r.set.Clips[i].ID, n).text)
	}
	return out
}
