package eval

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/larkstream/larkstream/lab/eval/caption"
)

// constantCaptions is how many references are tried as the constant answer.
const constantCaptions = 20

// captioned are the captions of a set, by position.
type captioned struct {
	clips []int
	cases []caption.Case
}

// captions collects the answers to be compared with references.
func (r *run) captions(rep *Report) captioned {
	var out captioned
	for i, clip := range r.set.Clips {
		refs := clip.Labels.References()
		if len(refs) == 0 || r.heard[i].fault != nil {
			continue
		}
		question := r.wordings.pick(TaskCaptions, i)
		answer := r.heard[i].answers[question]
		c := caption.Case{Got: caption.Tokens(answer)}
		for _, ref := range refs {
			c.Refs = append(c.Refs, caption.Tokens(ref))
		}
		out.clips, out.cases = append(out.clips, i), append(out.cases, c)
		rep.Items = append(rep.Items, Item{
			Clip: clip.ID, Task: TaskCaptions, Question: question, Answer: answer, Read: strings.Join(c.Got, " "), Want: refs[0], Score: caption.Meteor(c),
		})
	}
	return out
}

func (r *run) scoreCaptions(ctx context.Context, rep *Report) error {
	if !r.does(TaskCaptions) {
		return nil
	}
	all := r.captions(rep)
	if len(all.cases) == 0 {
		return nil
	}
	for _, m := range captionMeasures() {
		f := r.captionFigure(m, all.cases)
		constant := 0.0
		for k := range min(constantCaptions, len(all.cases)) {
			constant = max(constant, m.value(constantCases(all.cases, k), every(len(all.cases)-1)))
		}
		f.Constant = &constant
		rep.put(TaskCaptions+m.suffix, f)
	}
	return r.winRate(ctx, rep, all)
}

// captionMeasure is a figure over cases. prepare does what does not depend on which cases are drawn.
type captionMeasure struct {
	suffix, metric string
	prepare        func(cases []caption.Case) func(draw []int) float64
}

func (m captionMeasure) value(cases []caption.Case, draw []int) float64 {
	return m.prepare(cases)(draw)
}

func captionMeasures() []captionMeasure {
	out := []captionMeasure{
		{"", "CIDEr-D (0 to 10)", meanOf(caption.Cider)},
		{"_meteor", "METEOR, words and stems", meanOf(eachCase(caption.Meteor))},
		{"_rouge_l", "ROUGE-L", meanOf(eachCase(caption.RougeL))},
	}
	for n := 1; n <= 4; n++ {
		out = append(out, captionMeasure{fmt.Sprintf("_bleu%d", n), fmt.Sprintf("BLEU-%d", n), func(cases []caption.Case) func([]int) float64 {
			counts := make([]caption.Bleu, len(cases))
			for i, c := range cases {
				counts[i] = caption.NewBleu(c)
			}
			return func(draw []int) float64 {
				var sum caption.Bleu
				for _, i := range draw {
					sum.Add(counts[i])
				}
				return sum.Score(n)
			}
		}})
	}
	return out
}

func eachCase(score func(caption.Case) float64) func([]caption.Case) []float64 {
	return func(cases []caption.Case) []float64 {
		out := make([]float64, len(cases))
		for i, c := range cases {
			out[i] = score(c)
		}
		return out
	}
}

func meanOf(score func([]caption.Case) []float64) func([]caption.Case) func([]int) float64 {
	return func(cases []caption.Case) func([]int) float64 {
		scores := score(cases)
		return func(draw []int) float64 {
			total := 0.0
			for _, i := range draw {
				total += scores[i]
			}
			return total / float64(max(1, len(draw)))
		}
	}
}

func every(n int) []int {
	out := make([]int, max(0, n))
	for i := range out {
		out[i] = i
	}
	return out
}

func (r *run) captionFigure(m captionMeasure, cases []caption.Case) Figure {
	value := m.prepare(cases)
	f := Figure{Metric: m.metric, Value: value(every(len(cases))), N: len(cases)}
	f.Low, f.High = interval(r.cfg.Seed, len(cases), value)
	return f
}

// constantCases answer every clip with the first reference of clip k, which itself is left out.
func constantCases(cases []caption.Case, k int) []caption.Case {
	var out []caption.Case
	for i, c := range cases {
		if i != k {
			out = append(out, caption.Case{Got: cases[k].Refs[0], Refs: c.Refs})
		}
	}
	return out
}

// winRate asks the judge whether the model's caption or its rival describes the reference better, in a shuffled order; a tie counts half. The rival
// is another run's caption, or else the caption of another clip, which a model that hears must beat.
func (r *run) winRate(ctx context.Context, rep *Report, all captioned) error {
	if r.cfg.Judge == nil || len(all.clips) < 2 {
		return nil
	}
	var scores []float64
	for k, i := range all.clips {
		clip := r.set.Clips[i]
		rival, metric := r.rival(all, k)
		if rival == "" {
			continue
		}
		mine := r.heard[i].answers[r.wordings.pick(TaskCaptions, i)]
		first, second, sign := mine, rival, 1
		if shuffler(r.cfg.Seed, clip.ID, -2).IntN(2) == 1 {
			first, second, sign = rival, mine, -1
		}
		preferred, ok, err := r.cfg.Judge.Prefer(ctx, clip.Labels.References()[0], first, second)
		if err != nil {
			return fmt.Errorf("judging the caption of clip %s: %w", clip.ID, err)
		}
		item := Item{Clip: clip.ID, Task: "captions_win_rate", Question: metric, Answer: mine, Want: rival}
		if ok {
			item.Read, item.Score = strconv.Itoa(preferred*sign), float64(preferred*sign+1)/2
		}
		rep.Items = append(rep.Items, item)
		scores = append(scores, item.Score)
	}
	if len(scores) > 0 {
		half, metric := 0.5, "win rate by a judge, order shuffled, against the captions of "
		if r.cfg.Rival != nil {
			metric += "another run"
		} else {
			metric += "other clips"
		}
		f := r.figureOf(metric, scores)
		f.Constant = &half
		rep.put("captions_win_rate", f)
	}
	return nil
}

// rival is the caption that the model's is compared with.
func (r *run) rival(all captioned, k int) (text, kind string) {
	if r.cfg.Rival != nil {
		return r.cfg.Rival[r.set.Clips[all.clips[k]].ID], "against another run"
	}
	other := all.clips[(k+1)%len(all.clips)]
	return r.set.Clips[other].Labels.References()[0], "against the caption of " + r.set.Clips[other].ID
}
