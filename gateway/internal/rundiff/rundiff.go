package rundiff

import (
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// Bounds of what a page tells of one item.
const (
	maxChanges = 32
	maxText    = 500
)

// Side is an item as one run has it, with the outcomes of its last job.
type Side struct {
	Item     store.Item
	Outcomes []*eventpb.Outcome
}

// Page collects the differences of a page. The zero value is an empty page.
type Page struct {
	Counts client.DiffCounts
	Fields []client.FieldDiff
	Items  []client.ItemDiff
}

// OnlyBefore notes an item that only the earlier run has, OnlyAfter one that only the later run has.
func (p *Page) OnlyBefore(it store.Item) {
	p.Counts.OnlyBefore++
	p.Items = append(p.Items, client.ItemDiff{ID: it.ID, URI: it.URI, Kind: client.DiffOnlyBefore, StateBefore: string(it.State)})
}

// OnlyAfter notes an item that only the later run has.
func (p *Page) OnlyAfter(it store.Item) {
	p.Counts.OnlyAfter++
	p.Items = append(p.Items, client.ItemDiff{ID: it.ID, URI: it.URI, Kind: client.DiffOnlyAfter, StateAfter: string(it.State)})
}

// Compare notes an item that both runs have.
func (p *Page) Compare(before, after Side) {
	b, a := before.Item, after.Item
	d := client.ItemDiff{
		ID: a.ID, URI: a.URI, StateBefore: string(b.State), StateAfter: string(a.State),
		AudioChanged: b.SHA256 != "" && a.SHA256 != "" && b.SHA256 != a.SHA256,
	}
	had, has := answered(b.State), answered(a.State)
	switch {
	case open(b.State) || open(a.State):
		p.Counts.Open++
	case b.State == store.ItemSkipped || a.State == store.ItemSkipped:
		p.Counts.Skipped++
	case had && has:
		p.answers(d, before, after)
	case had:
		p.Counts.Lost++
		d.Kind, d.Code = client.DiffLost, a.Code
	case has:
		p.Counts.Gained++
		d.Kind, d.Code = client.DiffGained, b.Code
	default:
		p.Counts.Failed++
	}
	if d.Kind != "" {
		p.Items = append(p.Items, d)
	}
}

func open(s store.ItemState) bool { return s == store.ItemPending || s == store.ItemRunning }

func answered(s store.ItemState) bool { return s == store.ItemSucceeded || s == store.ItemPartial }

// answers compares the answers about an item that both runs have answered about.
func (p *Page) answers(d client.ItemDiff, before, after Side) {
	if len(before.Outcomes) == 0 || len(after.Outcomes) == 0 {
		p.Counts.Gone++
		return
	}
	earlier := byPlace(before.Outcomes)
	c := comparison{seen: make(map[field]bool)}
	for _, o := range order(after.Outcomes) {
		if e := earlier[o.place]; e != nil && sameSpan(e, o.Outcome) {
			c.outcomes(o.place, e, o.Outcome)
		}
	}
	switch {
	case len(c.seen) == 0:
		p.Counts.Unlike++
		return
	case len(c.changes) == 0:
		p.Counts.Same++
	default:
		p.Counts.Changed++
		d.Kind, d.Changes = client.DiffChanged, c.changes[:min(len(c.changes), maxChanges)]
		p.Items = append(p.Items, d)
	}
	p.count(c.seen)
}

// count adds the fields of an item; those that differ have true.
func (p *Page) count(seen map[field]bool) {
	for f, changed := range seen {
		at := slices.IndexFunc(p.Fields, func(k client.FieldDiff) bool { return k.Field == f.name && k.Question == f.question })
		if at < 0 {
			at = len(p.Fields)
			p.Fields = append(p.Fields, client.FieldDiff{Field: f.name, Question: f.question})
		}
		p.Fields[at].Compared++
		if changed {
			p.Fields[at].Changed++
		}
	}
	slices.SortFunc(p.Fields, func(x, y client.FieldDiff) int {
		return strings.Compare(x.Field+"\x00"+x.Question, y.Field+"\x00"+y.Question)
	})
}

// wholeTrack is the window of what is about the whole track.
const wholeTrack = -1

// place says what an outcome is about: answers of two runs at one place are comparable. Tags are one place whatever the text of the question.
type place struct {
	question string // "" for tags
	tags     bool
	window   int
}

type placed struct {
	place
	*eventpb.Outcome
}

// order returns the outcomes with their places, one at each. Where there are answers of the whole track, answers of windows are left out: they stand behind
// it. The answer about the only window is about the whole track.
func order(all []*eventpb.Outcome) []placed {
	combined := slices.ContainsFunc(all, func(o *eventpb.Outcome) bool { return o.GetCombined() != nil })
	several := slices.ContainsFunc(all, func(o *eventpb.Outcome) bool { return o.GetWindow().GetIndex() > 0 })
	all = slices.Clone(all)
	slices.SortFunc(all, func(x, y *eventpb.Outcome) int {
		if d := int(x.GetWindow().GetIndex()) - int(y.GetWindow().GetIndex()); d != 0 {
			return d
		}
		return int(x.GetQuestion().GetIndex()) - int(y.GetQuestion().GetIndex())
	})
	var out []placed
	taken := make(map[place]bool)
	for _, o := range all {
		if (o.GetCombined() != nil) != combined {
			continue
		}
		at := place{question: o.GetQuestion().GetText(), window: int(o.GetWindow().GetIndex())}
		if o.GetResponseSchema() == event.SchemaTags {
			at.question, at.tags = "", true
		}
		if combined || !several {
			at.window = wholeTrack
		}
		if !taken[at] {
			taken[at] = true
			out = append(out, placed{at, o})
		}
	}
	return out
}

func byPlace(all []*eventpb.Outcome) map[place]*eventpb.Outcome {
	out := make(map[place]*eventpb.Outcome)
	for _, o := range order(all) {
		out[o.place] = o.Outcome
	}
	return out
}

// sameSpan tells whether two outcomes are about the same stretch of the track, as those of the whole track are.
func sameSpan(x, y *eventpb.Outcome) bool {
	const tolerance = 0.01 // seconds: the same rule over files of nearly the same length
	a, b := x.GetWindow().GetSpan(), y.GetWindow().GetSpan()
	near := func(s, t float64) bool { return max(s-t, t-s) < tolerance }
	return x.GetCombined() != nil || y.GetCombined() != nil || (near(a.GetStartS(), b.GetStartS()) && near(a.GetEndS(), b.GetEndS()))
}

type field struct{ name, question string }

// comparison is that of one item.
type comparison struct {
	// seen are the fields that were compared, with whether any differs.
	seen    map[field]bool
	changes []client.FieldChange
}

func (c *comparison) outcomes(at place, before, after *eventpb.Outcome) {
	old, now := valuesOf(at, before), valuesOf(at, after)
	if old == nil && now == nil {
		return // neither has answered
	}
	code := before.GetError().GetCode()
	if now == nil {
		code = after.GetError().GetCode()
	}
	for _, name := range fieldsOf(at) {
		f := field{name: name, question: at.question}
		x, y := old[name], now[name]
		same := reflect.DeepEqual(x, y)
		c.seen[f] = c.seen[f] || !same
		if same {
			continue
		}
		change := client.FieldChange{Field: name, Question: at.question, Before: shown(x), After: shown(y)}
		if old == nil || now == nil {
			change.Code = code
		}
		if at.window != wholeTrack {
			change.Window = &at.window
		}
		c.changes = append(c.changes, change)
	}
}

// tagFields are the fields of tags in their order.
var tagFields = []string{"tempo_bpm", "key", "mode", "metre", "instruments", "genre", "mood", "description"}

func fieldsOf(at place) []string {
	if at.tags {
		return tagFields
	}
	return []string{client.FieldAnswer}
}

// valuesOf are the values of an outcome by field, nil for one without an answer. A field that is not told is left out.
func valuesOf(at place, o *eventpb.Outcome) map[string]any {
	if o.GetState() != eventpb.State_STATE_ANSWERED {
		return nil
	}
	if !at.tags {
		return map[string]any{client.FieldAnswer: o.GetAnswer()}
	}
	var t tags.Tags
	if t.UnmarshalJSON([]byte(o.GetAnswer())) != nil {
		return nil // only llm-svc writes tags, after tags.Parse
	}
	out := make(map[string]any)
	if t.TempoBPM > 0 {
		out["tempo_bpm"] = t.TempoBPM
	}
	for name, text := range map[string]string{"key": t.Key, "mode": t.Mode, "metre": t.Metre, "genre": t.Genre, "description": t.Description} {
		if text != "" {
			out[name] = text
		}
	}
	for name, list := range map[string][]string{"instruments": t.Instruments, "mood": t.Mood} {
		if len(list) > 0 { // a set: the order says nothing
			out[name] = slices.Sorted(slices.Values(list))
		}
	}
	return out
}

// shown is a value as it is told: a text is cut at the border of a character.
func shown(v any) any {
	text, ok := v.(string)
	if !ok || len(text) <= maxText {
		return v
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}
