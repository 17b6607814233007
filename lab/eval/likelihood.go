package eval

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Names in the summary of multiple choices that are answered by likelihood: normalised by length, and the sum alone.
const (
	choiceLikelihood    = "choice_likelihood"
	choiceLikelihoodSum = "choice_likelihood_sum"
)

// chooses tells whether multiple choices are answered in this way.
func (r *run) chooses(by string) bool {
	return r.does(TaskChoice) && slices.Contains(r.cfg.Choices, by)
}

// options are the question and the choices in the order of the label: their likelihoods do not depend on the order in which the choices would be shown.
func (q Choice) options() Options { return Options{q.Question, q.Choices} }

// key names a question with its choices.
func (o Options) key() string {
	raw, _ := json.Marshal(o) //nolint:errchkjson // strings alone
	return string(raw)
}

// options are all that a clip's audio is scored with, each once.
func (r *run) options(i int) []Options {
	if !r.chooses(ChoicesLikelihood) {
		return nil
	}
	clips := []int{i}
	if from, ok := r.swaps[i]; ok {
		clips = append(clips, from)
	}
	var out []Options
	seen := map[string]bool{}
	for _, c := range clips {
		for _, q := range r.set.Clips[c].Labels.MultipleChoice {
			if o := q.options(); !seen[o.key()] {
				seen[o.key()] = true
				out = append(out, o)
			}
		}
	}
	return out
}

// likelihoodKey names the likelihoods of options among the answers that are kept.
func (r *run) likelihoodKey(audioSum string, o Options) string {
	return cacheKey(r.model.Digest(), audioSum, "likelihoods of "+o.key())
}

func (r *run) keptLikelihoods(audioSum string, o Options) (out []Likelihood, ok bool) {
	raw, ok := r.cache.get(r.likelihoodKey(audioSum, o))
	return out, ok && json.Unmarshal([]byte(raw), &out) == nil && len(out) == len(o.Choices)
}

func (r *run) keepLikelihoods(audioSum string, o Options, told []Likelihood) error {
	raw, err := json.Marshal(told)
	if err != nil {
		return fmt.Errorf("keeping likelihoods: %w", err)
	}
	return r.cache.put(r.likelihoodKey(audioSum, o), string(raw))
}

// ofChoices are the likelihoods of a question's choices about a clip's audio, in the order in which the choices are shown.
func (r *run) ofChoices(audio int, q Choice, a asked) []Likelihood {
	told := r.heard[audio].likelihoods[q.options().key()]
	out := make([]Likelihood, len(a.choices))
	for k, c := range a.choices {
		out[k] = told[slices.Index(q.Choices, c)]
	}
	return out
}

// likeliest reads a multiple choice as the choice of the greatest likelihood, of equals the first that is shown.
func (r *run) likeliest(by func(Likelihood) float64) func(audio int, q Choice, a asked) string {
	return func(audio int, q Choice, a asked) string {
		best, all := 0, r.ofChoices(audio, q, a)
		for k := range all {
			if by(all[k]) > by(all[best]) {
				best = k
			}
		}
		return strconv.Itoa(best)
	}
}

// scoreLikelihoods scores the choices that are the likeliest answers to their questions.
func (r *run) scoreLikelihoods(rep *Report) {
	if !r.chooses(ChoicesLikelihood) {
		return
	}
	perToken, sum := r.likeliest(Likelihood.PerToken), r.likeliest(func(l Likelihood) float64 { return l.LogProb })
	var pairs, sums []pair
	r.eachChoice(func(i, n int, q Choice) {
		a := q.ask(r.cfg.Seed, r.set.Clips[i].ID, n)
		p := pair{perToken(i, q, a), a.right}
		pairs, sums = append(pairs, p), append(sums, pair{sum(i, q, a), a.right})
		told := r.ofChoices(i, q, a)
		rep.Items = append(rep.Items, Item{
			Clip: r.set.Clips[i].ID, Task: choiceLikelihood, Question: q.Question, Answer: likelihoodTable(told), Read: p.got, Want: p.want, Score: exact(p), Likelihoods: told,
		})
	})
	r.putChoice(rep, choiceLikelihood, "accuracy, likeliest choice by the mean log-probability of its tokens", pairs)
	r.putChoice(rep, choiceLikelihoodSum, "accuracy, likeliest choice by the sum of log-probabilities", sums)
}

// likelihoodTable lists choices with their likelihood per token, as the page shows them.
func likelihoodTable(told []Likelihood) string {
	var rows []string
	for k, l := range told {
		rows = append(rows, fmt.Sprintf("(%d) %s: %.2f", k, l.Choice, l.PerToken()))
	}
	return strings.Join(rows, "; ")
}
