package bench

import (
	"time"

	"github.com/larkstream/larkstream/engine/decoder/schedule"
)

// mark is a moment, by the clock and by the processor time of this process, which is 0 where the system does not tell it.
type mark struct {
	at        time.Time
	processor float64
}

func now() mark {
	seconds, err := processorSeconds()
	if err != nil {
		seconds = 0
	}
	return mark{time.Now(), seconds}
}

// stretch is what lies between two marks.
type stretch struct {
	Seconds     float64 `json:"seconds"`
	CoreSeconds float64 `json:"core_seconds"` // 0 where the system does not tell it
}

func (m mark) until(end mark) stretch {
	return stretch{end.at.Sub(m.at).Seconds(), end.processor - m.processor}
}

func (s stretch) plus(t stretch) stretch {
	return stretch{s.Seconds + t.Seconds, s.CoreSeconds + t.CoreSeconds}
}

// pace measures the steps in which so many answers grow by a token each and no prompt is read. The answers to one request begin one after the
// other, as their questions are read, a piece a step, and the first ends before the last: only such steps compare with a loop that decodes
// as many sequences.
type pace struct {
	answers, most int // steps beyond the most are not measured: they would have longer texts than the loop's
	last          mark
	steps         int
	took          stretch
	// reading counts the steps that read questions: the last answer begins less than so many steps behind the first.
	reading int
}

// watch is called at the end of every step.
func (p *pace) watch(s schedule.Step) {
	end := now()
	if s.Own > 0 {
		p.reading++
	}
	if s.Answers == p.answers && s.Own+s.Shared == 0 && p.steps < p.most {
		p.took = p.took.plus(p.last.until(end))
		p.steps++
	}
	p.last = end
}
