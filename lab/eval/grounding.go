package eval

import "math/rand/v2"

// shifts is over how many foreign clips each clip's score with shuffled audio is taken, fewer in sets so large that this would take minutes.
const shifts, shuffledPairs = 10, 20_000

// shuffledClips are clips in a random order; shifting them by one or more gives every clip the audio of another one.
func (r *run) shuffledClips(clips []int) []int {
	rng := rand.New(rand.NewPCG(r.cfg.Seed, uint64(len(clips)))) //nolint:gosec // repeatable on purpose
	out := make([]int, len(clips))
	for k, p := range rng.Perm(len(clips)) {
		out[k] = clips[p]
	}
	return out
}

// swapped tells for the audio of each clip with multiple choice of which other clip's questions it answers.
func (r *run) swapped() map[int]int {
	if !r.does(TaskGrounding) || !r.does(TaskChoice) {
		return nil
	}
	var clips []int
	for i, c := range r.set.Clips {
		if len(c.Labels.MultipleChoice) > 0 {
			clips = append(clips, i)
		}
	}
	order, out := r.shuffledClips(clips), map[int]int{}
	for k, audio := range order {
		if len(order) > 1 {
			out[audio] = order[(k+1)%len(order)]
		}
	}
	return out
}

// scoreGrounding scores answers about foreign audio. A question about a fact does not depend on the clip, so the answers to other clips' own
// questions serve; multiple choices were asked anew.
func (r *run) scoreGrounding(rep *Report) {
	if !r.does(TaskGrounding) {
		return
	}
	for _, c := range r.closed {
		if clips := r.clipsOf(c); len(clips) > 1 {
			order := r.shuffledClips(clips)
			r.ground(rep, c.name, c.figures[0].metric, c.figures[0].of, r.foreign(order, func(i, from int) pair { return r.pair(c, i, from) }))
			r.groundPeer(rep, c, order)
		}
	}
	if r.chooses(ChoicesText) {
		r.groundChoice(rep, TaskChoice, r.readText)
	}
	if r.chooses(ChoicesLikelihood) {
		r.groundChoice(rep, choiceLikelihood, r.likeliest(Likelihood.PerToken))
	}
	if len(rep.Grounding) == 0 {
		return
	}
	var falls []float64
	for _, g := range rep.Grounding {
		falls = append(falls, truth(g.Falls))
	}
	one := 1.0
	f := r.figureOf("share of tasks whose score falls to the constant answer's with shuffled audio", falls)
	f.Constant = &one
	rep.put(TaskGrounding, f)
}

// groundPeer adds what engine/mir scores on foreign audio.
func (r *run) groundPeer(rep *Report, c closed, order []int) {
	if c.mir == nil {
		return
	}
	var all []pair
	for _, pairs := range r.foreign(order, func(i, from int) pair {
		want, _ := c.want(r.set.Clips[i].Labels)
		return pair{c.mir(r.heard[from].mir), want}
	}) {
		all = append(all, pairs...)
	}
	f, measured := rep.Summary["grounding_"+c.name], c.figures[0].of(all)
	f.MIR = &measured
	rep.Summary["grounding_"+c.name] = f
}

// foreign are for each clip the pairs of its label with readings of other clips.
func (r *run) foreign(order []int, read func(i, from int) pair) [][]pair {
	out := make([][]pair, len(order))
	most := min(shifts, len(order)-1, max(1, shuffledPairs/len(order)))
	for k, i := range order {
		for s := 1; s <= most; s++ {
			out[k] = append(out[k], read(i, order[(k+s)%len(order)]))
		}
	}
	return out
}

func (r *run) groundChoice(rep *Report, name string, read func(audio int, q Choice, a asked) string) {
	if pairs := r.foreignChoices(read); len(pairs) > 0 {
		r.ground(rep, name, "accuracy", mean(exact), pairs)
	}
}

// readText is the option that the answer about a clip's audio takes.
func (r *run) readText(audio int, _ Choice, a asked) string {
	return readChoice(r.heard[audio].answers[a.text], a.choices)
}

// foreignChoices are for each clip's audio the pairs of another clip's multiple choices, read by read.
func (r *run) foreignChoices(read func(audio int, q Choice, a asked) string) [][]pair {
	var out [][]pair
	for audio := range r.set.Clips { // in the order of the set, so that intervals can be repeated
		i, swapped := r.swaps[audio]
		if !swapped || r.heard[audio].fault != nil {
			continue
		}
		var pairs []pair
		for n, q := range r.set.Clips[i].Labels.MultipleChoice {
			a := q.ask(r.cfg.Seed, r.set.Clips[i].ID, n)
			pairs = append(pairs, pair{read(audio, q, a), a.right})
		}
		out = append(out, pairs)
	}
	return out
}

func (r *run) ground(rep *Report, task, metric string, of measure, foreign [][]pair) {
	joined := func(draw []int) (all []pair) {
		for _, k := range draw {
			all = append(all, foreign[k]...)
		}
		return all
	}
	each := make([]int, len(foreign))
	for k := range each {
		each[k] = k
	}
	own := rep.Summary[task]
	g := Ground{Task: task, Metric: metric, True: own.Value, Shuffled: of(joined(each)), Constant: *own.Constant}
	g.Low, g.High = interval(r.cfg.Seed, len(foreign), func(draw []int) float64 { return of(joined(draw)) })
	g.Falls, g.Hears, g.Beats = g.Low <= g.Constant, own.Value > g.High, own.Value > g.Constant
	rep.Grounding = append(rep.Grounding, g)
	constant := g.Constant
	rep.put("grounding_"+task, Figure{Metric: metric + ", shuffled audio", Value: g.Shuffled, Low: g.Low, High: g.High, N: len(foreign), Constant: &constant})
}
