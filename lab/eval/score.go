package eval

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// report scores all answers.
func (r *run) report(ctx context.Context) (Report, error) {
	rep := Report{
		Format: ReportFormat, Set: r.set.Dir, Model: r.model.Name(), Digest: r.model.Digest(), Seed: r.cfg.Seed, IgnoredLabels: r.set.Ignored,
	}
	for i, h := range r.heard {
		if h.fault != nil {
			rep.LeftOut = append(rep.LeftOut, LeftOut{r.set.Clips[i].ID, h.fault.Error()})
			continue
		}
		rep.Clips++
	}
	for _, c := range r.closed {
		r.scoreClosed(&rep, c)
	}
	if err := r.scoreCaptions(ctx, &rep); err != nil {
		return Report{}, err
	}
	r.scoreChoice(&rep)
	r.scoreLikelihoods(&rep)
	r.scoreRefusals(&rep)
	r.scoreConsistency(&rep)
	r.scoreGrounding(&rep)
	r.scoreRobustness(&rep)
	if len(rep.Summary) == 0 {
		return Report{}, r.nothing(rep)
	}
	rep.finish()
	return rep, nil
}

// nothing says why there is no figure.
func (r *run) nothing(rep Report) error {
	if rep.Clips == 0 {
		return fmt.Errorf("no clip of %s could be read, the first: %s: %s", r.set.Dir, rep.LeftOut[0].Clip, rep.LeftOut[0].Reason)
	}
	return fmt.Errorf("no clip of %s has a label for the tasks %s", r.set.Dir, strings.Join(r.cfg.Tasks, ", "))
}

// clipsOf are the clips that a closed task has answers for.
func (r *run) clipsOf(c closed) []int {
	var out []int
	for i, clip := range r.set.Clips {
		if _, ok := c.want(clip.Labels); ok && r.heard[i].fault == nil {
			out = append(out, i)
		}
	}
	return out
}

// pair reads clip i's answer; from is the clip whose audio was heard.
func (r *run) pair(c closed, i, from int) pair {
	want, _ := c.want(r.set.Clips[i].Labels)
	return pair{c.read(r.heard[from].answers[r.wordings.pick(c.name, from)], r.set.Clips[i].Labels), want}
}

func (r *run) scoreClosed(rep *Report, c closed) {
	clips := r.clipsOf(c)
	if len(clips) == 0 {
		return
	}
	pairs, peer := make([]pair, len(clips)), make([]pair, len(clips))
	for k, i := range clips {
		pairs[k] = r.pair(c, i, i)
		question := r.wordings.pick(c.name, i)
		item := Item{
			Clip: r.set.Clips[i].ID, Task: c.name, Question: question, Answer: r.heard[i].answers[question], Read: pairs[k].got, Want: pairs[k].want,
			Score: c.figures[0].of(pairs[k : k+1]),
		}
		if c.mir != nil {
			item.MIR = c.mir(r.heard[i].mir)
			peer[k] = pair{item.MIR, pairs[k].want}
		}
		rep.Items = append(rep.Items, item)
	}
	for _, f := range c.figures {
		fig := r.figure(f.metric, pairs, f.of)
		constant := c.constant(f.of, pairs)
		fig.Constant = &constant
		if c.mir != nil {
			mir := f.of(peer)
			fig.MIR = &mir
		}
		rep.put(c.name+f.suffix, fig)
	}
	r.details(rep, c, pairs)
}

// figure is a measure of pairs with its interval.
func (r *run) figure(metric string, pairs []pair, of measure) Figure {
	f := Figure{Metric: metric, Value: of(pairs), N: len(pairs)}
	drawn := make([]pair, len(pairs))
	f.Low, f.High = interval(r.cfg.Seed, len(pairs), func(draw []int) float64 {
		for k, i := range draw {
			drawn[k] = pairs[i]
		}
		return of(drawn)
	})
	return f
}

// figureOf is the mean of scores with its interval.
func (r *run) figureOf(metric string, scores []float64) Figure {
	average := func(draw []int) float64 {
		total := 0.0
		for _, i := range draw {
			total += scores[i]
		}
		return total / float64(max(1, len(draw)))
	}
	all := make([]int, len(scores))
	for i := range all {
		all[i] = i
	}
	f := Figure{Metric: metric, Value: average(all), N: len(scores)}
	f.Low, f.High = interval(r.cfg.Seed, len(scores), average)
	return f
}

// details are what the page shows of a closed task beside its figures.
func (r *run) details(rep *Report, c closed, pairs []pair) {
	switch c.name {
	case TaskInstruments:
		rep.Families = families(pairs)
	case TaskKey:
		rep.Keys = map[string]int{}
		for _, p := range pairs {
			rep.Keys[keyRelation(p)]++
		}
		rep.Confusions = append(rep.Confusions, confusion(c.name, pairs))
	case TaskMetre, TaskDrums, TaskGenre:
		rep.Confusions = append(rep.Confusions, confusion(c.name, pairs))
	}
}

func (r *run) scoreChoice(rep *Report) {
	if !r.chooses(ChoicesText) {
		return
	}
	var pairs []pair
	r.eachChoice(func(i, n int, q Choice) {
		a := q.ask(r.cfg.Seed, r.set.Clips[i].ID, n)
		answer := r.heard[i].answers[a.text]
		p := pair{readChoice(answer, a.choices), a.right}
		pairs = append(pairs, p)
		rep.Items = append(rep.Items, Item{Clip: r.set.Clips[i].ID, Task: TaskChoice, Question: a.text, Answer: answer, Read: p.got, Want: p.want, Score: exact(p)})
	})
	r.putChoice(rep, TaskChoice, "accuracy, answer by text", pairs)
}

// eachChoice calls do with the multiple choices of clips that were heard: the clip, and the number of the question.
func (r *run) eachChoice(do func(i, n int, q Choice)) {
	for i, clip := range r.set.Clips {
		if r.heard[i].fault != nil {
			continue
		}
		for n, q := range clip.Labels.MultipleChoice {
			do(i, n, q)
		}
	}
}

func (r *run) putChoice(rep *Report, name, metric string, pairs []pair) {
	if len(pairs) == 0 {
		return
	}
	f := r.figure(metric, pairs, mean(exact))
	constant := choiceConstant(pairs)
	f.Constant = &constant
	rep.put(name, f)
}

// choiceConstant is what the best letter scores.
func choiceConstant(pairs []pair) float64 {
	return closed{constants: trueClasses}.constant(mean(exact), pairs)
}

// scoreRefusals counts refusals of what no audio answers, and of what audio does answer.
func (r *run) scoreRefusals(rep *Report) {
	if !r.does(TaskUnanswerable) {
		return
	}
	var refusals, false_ []float64
	for i, clip := range r.set.Clips {
		if r.heard[i].fault != nil {
			continue
		}
		if clip.Labels.Unanswerable {
			question := r.wordings.pick(TaskUnanswerable, i)
			answer := r.heard[i].answers[question]
			score := truth(Refuses(answer))
			refusals = append(refusals, score)
			rep.Items = append(rep.Items, Item{Clip: clip.ID, Task: TaskUnanswerable, Question: question, Answer: answer, Want: "a refusal", Score: score})
		}
		for _, c := range r.facts(i) {
			false_ = append(false_, truth(Refuses(r.heard[i].answers[r.wordings.pick(c.name, i)])))
		}
	}
	one, none := 1.0, 0.0
	if len(refusals) > 0 {
		f := r.figureOf("refusal rate", refusals)
		f.Constant = &one
		rep.put(TaskUnanswerable, f)
	}
	if len(false_) > 0 {
		f := r.figureOf("refusal rate of questions that audio answers (lower is better)", false_)
		f.Constant = &none
		rep.put("false_refusals", f)
	}
}

// varied tells whether a fact is asked in eight wordings.
func (r *run) varied(task string) bool {
	return r.does(TaskConsistency) && len(r.wordings[task]) >= wordingsPerFact
}

// scoreConsistency is how many of eight wordings of one question give the clip's most frequent reading; what cannot be read agrees with nothing.
func (r *run) scoreConsistency(rep *Report) {
	var scores []float64
	for i, clip := range r.set.Clips {
		if r.heard[i].fault != nil {
			continue
		}
		for _, c := range r.facts(i) {
			if !r.varied(c.name) {
				continue
			}
			var readings []string
			for _, q := range r.wordings[c.name][:wordingsPerFact] {
				readings = append(readings, c.read(r.heard[i].answers[q], clip.Labels))
			}
			scores = append(scores, agreement(c.name, readings))
		}
	}
	if len(scores) == 0 {
		return
	}
	f, one := r.figureOf("share of eight wordings that agree", scores), 1.0
	f.Constant = &one
	rep.put(TaskConsistency, f)
}

// agreement is the share of readings that are the same as the most frequent one; tempi are the same within 4 %.
func agreement(task string, readings []string) float64 {
	same := func(a, b string) bool { return a == b }
	if task == TaskTempo {
		same = func(a, b string) bool { return tempoWithin(1)(pair{a, b}) > 0 }
	}
	best := 0
	for _, a := range readings {
		if a == "" {
			continue
		}
		n := len(slices.DeleteFunc(slices.Clone(readings), func(b string) bool { return b == "" || !same(a, b) }))
		best = max(best, n)
	}
	return float64(best) / float64(max(1, len(readings)))
}
