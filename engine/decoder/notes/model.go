package notes

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/larkstream/larkstream/engine/decoder/tokenizer"
	"github.com/larkstream/larkstream/engine/tensor"
)

// Vocabulary turns text into tokens and back.
type Vocabulary interface {
	Plain(text string) ([]int, error)
	tokenizer.Pieces
}

// Model is a sheet in a model's tokens. It is read-only and may be used by several goroutines.
type Model struct {
	*Sheet
	vocab        Vocabulary
	slots        []slotIDs
	sure, unsure int
	stops        []int
	length       int
}

type slotIDs struct {
	label  int
	values []int
	words  []string
}

// New finds the sheet's pieces among the tokens of a vocabulary; stops are the tokens that end an answer.
func New(s *Sheet, v Vocabulary, stops []int) (*Model, error) {
	m := &Model{Sheet: s, vocab: v, stops: stops}
	var faults []error
	one := func(piece string) int {
		ids, err := v.Plain(strings.ReplaceAll(piece, "▁", " "))
		if err == nil && len(ids) != 1 {
			err = fmt.Errorf("%q is %d tokens of the tokenizer, where one is needed", piece, len(ids))
		}
		if err != nil {
			faults = append(faults, err)
			return 0
		}
		return ids[0]
	}
	for _, slot := range s.Slots {
		ids := slotIDs{label: one(slot.Label)}
		for _, piece := range slot.Values {
			ids.values = append(ids.values, one(piece))
			ids.words = append(ids.words, strings.TrimPrefix(strings.ReplaceAll(piece, "▁", " "), " "))
		}
		m.slots = append(m.slots, ids)
		m.length += 2
		if slot.Second {
			m.length++
		}
		if slot.Sure != nil {
			m.length++
		}
	}
	m.sure, m.unsure = one(s.Sure), one(s.Unsure)
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("reading the notes: %w", err)
	}
	return m, nil
}

// Length is the number of tokens of a window's notes.
func (m *Model) Length() int { return m.length }

// First is the token behind which the first value is chosen.
func (m *Model) First() int { return m.slots[0].label }

// Notes are a window's notes while they are taken, and afterwards. They are not safe for concurrent use until they are done.
type Notes struct {
	model      *Model
	next       int
	says       state
	confidence map[string]float64
}

// Begin starts the notes of a window.
func (m *Model) Begin() *Notes {
	return &Notes{model: m, says: state{value: map[string]string{}, unsure: map[string]bool{}}, confidence: map[string]float64{}}
}

// Done tells that every slot has its value.
func (n *Notes) Done() bool { return n.next == len(n.model.slots) }

// Take notes the next value by the scores behind its label, and gives the tokens that the decoder is to read next: the value, what is noted about
// it, and the label of the slot after it.
func (n *Notes) Take(scores []float32) ([]int, error) {
	if !tensor.Finite(scores) {
		return nil, errors.New("taking notes: the model's scores are not finite")
	}
	slot, ids := n.model.Sheet.Slots[n.next], n.model.slots[n.next]
	best, second, chances := choose(scores, ids.values, slot.Bias)
	n.says.value[slot.Name] = ids.words[best]
	chance := chances[best]
	if slot.Name == tempoSlot {
		chance = nearby(ids.words, chances, best, n.model.Near)
	}
	confidence := calibrated(chance, slot)
	n.confidence[slot.Name] = confidence
	out := []int{ids.values[best]}
	if slot.Second {
		n.says.second = ids.words[second]
		out = append(out, ids.values[second])
	}
	if slot.Sure != nil {
		n.says.unsure[slot.Name] = confidence < *slot.Sure
		out = append(out, n.model.sure)
		if n.says.unsure[slot.Name] {
			out[len(out)-1] = n.model.unsure
		}
	}
	if n.next > n.model.slot(drumsSlot) && ids.words[best] == yes {
		n.says.heard = append(n.says.heard, slot.Name)
	}
	if n.next++; !n.Done() {
		out = append(out, n.model.slots[n.next].label)
	}
	return out, nil
}

// choose gives the places of the likeliest and the second value, and the chance of each value.
func choose(scores []float32, values []int, bias float64) (best, second int, chances []float64) {
	chances, high := make([]float64, len(values)), math.Inf(-1)
	for i, id := range values {
		chances[i] = float64(scores[id])
		if i == 0 {
			chances[i] += bias
		}
		high = max(high, chances[i])
	}
	sum := 0.0
	for i, v := range chances {
		chances[i] = math.Exp(v - high)
		sum += chances[i]
	}
	for i := range chances {
		chances[i] /= sum
		if chances[i] > chances[best] {
			best = i
		}
	}
	if best == 0 {
		second = 1
	}
	for i, c := range chances {
		if i != best && c > chances[second] {
			second = i
		}
	}
	return best, second, chances
}

// nearby is the chance of all tempi that a listener takes for the same.
func nearby(words []string, chances []float64, best int, near float64) float64 {
	at, _ := strconv.ParseFloat(words[best], 64)
	sum := 0.0
	for i, w := range words {
		if v, err := strconv.ParseFloat(w, 64); err == nil && math.Abs(v/at-1) <= near {
			sum += chances[i]
		}
	}
	return sum
}

// calibrated turns a chance into a confidence.
func calibrated(chance float64, slot Slot) float64 {
	chance = min(max(chance, 1e-6), 1-1e-6)
	scale := slot.Scale
	if scale == 0 {
		scale = 1
	}
	return 1 / (1 + math.Exp(-scale*math.Log(chance/(1-chance))-slot.Shift))
}

// Constrain holds the answer to a question to sentences that the notes allow.
func (n *Notes) Constrain(question string) (*Answer, error) {
	q, a := readQuestion(question, n.model.Sentences), &Answer{notes: n}
	for i := range n.model.Sentences {
		x := &n.model.Sentences[i]
		if !n.says.allows(x, q, n.model.Near) {
			continue
		}
		ids, err := n.model.vocab.Plain(n.says.fill(x.Text))
		if err != nil {
			return nil, fmt.Errorf("preparing a sentence: %w", err)
		}
		a.sentences = append(a.sentences, sentence{x, ids})
	}
	if len(a.sentences) == 0 {
		return nil, errors.New("preparing an answer: the notes allow no sentence")
	}
	a.begin()
	return a, nil
}

// Answer follows an answer and says which tokens may come next.
type Answer struct {
	notes     *Notes
	sentences []sentence
	open      []int // sentences that the answer's last sentence may still be
	at        int   // tokens of the last sentence
	said      []int // sentences that are complete
	allowed   []int
}

type sentence struct {
	*Sentence
	ids []int
}

func (a *Answer) begin() {
	a.open, a.at = a.open[:0], 0
	for i := range a.sentences {
		if !slices.Contains(a.said, i) {
			a.open = append(a.open, i)
		}
	}
	a.list()
}

// list finds the tokens that may come next.
func (a *Answer) list() {
	a.allowed = a.allowed[:0]
	for _, i := range a.open {
		if ids := a.sentences[i].ids; a.at < len(ids) {
			a.allowed = append(a.allowed, ids[a.at])
		}
	}
	if a.at == 0 && len(a.said) > 0 {
		a.allowed = append(a.allowed, a.notes.model.stops...)
	}
}

// Allows implements schedule.Constraint.
func (a *Answer) Allows(id int) bool { return slices.Contains(a.allowed, id) }

// Mask implements schedule.Constraint.
func (a *Answer) Mask(scores []float32) error {
	kept := make([]float32, len(a.allowed))
	for i, id := range a.allowed {
		kept[i] = scores[id]
	}
	for i := range scores {
		scores[i] = float32(math.Inf(-1))
	}
	for i, id := range a.allowed {
		scores[id] = kept[i]
	}
	return nil
}

// Accept implements schedule.Constraint.
func (a *Answer) Accept(id int) error {
	if !a.Allows(id) {
		return fmt.Errorf("following an answer: token %d is not allowed", id)
	}
	a.open = slices.DeleteFunc(a.open, func(i int) bool { return len(a.sentences[i].ids) <= a.at || a.sentences[i].ids[a.at] != id })
	a.at++
	for _, i := range a.open {
		if len(a.sentences[i].ids) == a.at {
			a.said = append(a.said, i)
			if len(a.said) < a.notes.model.MostSentences {
				a.begin()
				return nil
			}
			a.allowed = append(a.allowed[:0], a.notes.model.stops...)
			return nil
		}
	}
	a.list()
	return nil
}

// Close implements schedule.Constraint.
func (a *Answer) Close() {}

// Confidence is how sure the decoder is of the tempo, key and metre that the answer names: the lowest of them; 0 where it names none.
func (a *Answer) Confidence() float64 {
	lowest := 0.0
	for _, i := range a.said {
		for _, slot := range a.sentences[i].speaksOf() {
			if c := a.notes.confidence[slot]; lowest == 0 || c < lowest {
				lowest = c
			}
		}
	}
	return lowest
}
