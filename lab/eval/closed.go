package eval

import (
	"slices"
	"strconv"

	"github.com/larkstream/larkstream/engine/mir"
)

// figure is one number of a task. Suffix tells it from the task's first figure in the summary.
type figure struct {
	suffix, metric string
	of             measure
}

// closed is a task whose answers come out of a closed vocabulary.
type closed struct {
	name string
	// want is the reading of the label; false = the clip has none.
	want func(l Labels) (string, bool)
	// read reads an answer about a clip with these labels.
	read func(answer string, l Labels) string
	// mir is the reading of engine/mir; nil = it does not tell.
	mir func(r mir.Result) string
	// constants are the answers out of which the best constant one is taken.
	constants func(pairs []pair) []string
	figures   []figure
}

func labelled(reading string) (string, bool) { return reading, reading != "" }

// closedTasks are the closed tasks; genres are all genres of the set, for clips without genre_choices.
func closedTasks(genres []string) []closed {
	return []closed{
		{
			name: TaskKey, want: func(l Labels) (string, bool) { return labelled(parseKeyLabel(l.Key)) },
			read: func(a string, _ Labels) string { return readKey(a) }, mir: mirKey, constants: allKeys,
			figures: []figure{{"", "exact", mean(exact)}, {"_mirex", "MIREX-weighted", mean(mirex)}},
		},
		{
			name: TaskTempo, want: func(l Labels) (string, bool) { return number(l.TempoBPM), l.TempoBPM > 0 },
			read: func(a string, _ Labels) string { return readTempo(a) }, mir: mirTempo, constants: allTempi,
			figures: []figure{{"", "acc1 (4 %)", mean(tempoWithin(1))}, {"_acc2", "acc2 (4 %, octaves and thirds)", mean(tempoWithin(1, 2, 0.5, 3, 1.0/3))}},
		},
		{
			name: TaskMetre, want: func(l Labels) (string, bool) { return labelled(l.Metre) },
			read: func(a string, _ Labels) string { return readMetre(a) }, mir: func(r mir.Result) string { return r.Metre.Name }, constants: trueClasses,
			figures: []figure{{"", "balanced accuracy", balanced}, {"_accuracy", "accuracy", mean(exact)}},
		},
		{
			name: TaskInstruments, want: wantInstruments, read: func(a string, _ Labels) string { return readInstruments(a) }, constants: familyLists,
			figures: []figure{{"", "macro F1", macroF1}, {"_micro", "micro F1", microF1}},
		},
		{
			name: TaskDrums, want: wantDrums, read: func(a string, _ Labels) string { return readDrums(a) }, constants: trueClasses,
			figures: []figure{{"", "balanced accuracy", balanced}},
		},
		{
			name: TaskGenre, want: func(l Labels) (string, bool) { return labelled(plain(l.Genre)) }, constants: trueClasses,
			read: func(a string, l Labels) string {
				if len(l.GenreChoices) > 0 {
					return readGenre(a, l.GenreChoices)
				}
				return readGenre(a, genres)
			},
			figures: []figure{{"", "accuracy, labels matched by text", mean(exact)}},
		},
	}
}

func wantInstruments(l Labels) (string, bool) {
	if l.Instruments == nil {
		return "", false
	}
	var names []string
	for _, n := range *l.Instruments {
		names = append(names, FamilyOf(n))
	}
	reading := joined(names)
	return reading, reading != "" // a clip of drums alone asks nothing of this task
}

// wantDrums takes the label, else the list of instruments where it names drums: a list without drums does not say that there are none.
func wantDrums(l Labels) (string, bool) {
	switch {
	case l.Drums != nil:
		return yesNo(*l.Drums), true
	case l.Instruments != nil && slices.ContainsFunc(*l.Instruments, func(n string) bool { return FamilyOf(n) == drumFamily }):
		return "yes", true
	}
	return "", false
}

func mirKey(r mir.Result) string {
	if r.Key.Confidence == 0 {
		return ""
	}
	return parseKeyLabel(r.Key.String())
}

func mirTempo(r mir.Result) string {
	if r.Tempo.BPM <= 0 {
		return ""
	}
	return number(r.Tempo.BPM)
}

func allKeys([]pair) []string {
	var out []string
	for tonic := range pitchClass {
		out = append(out, tonic+" major", tonic+" minor")
	}
	return out
}

func allTempi([]pair) []string {
	var out []string
	for bpm := 40; bpm <= 220; bpm++ {
		out = append(out, strconv.Itoa(bpm))
	}
	return out
}

func trueClasses(pairs []pair) []string {
	var out []string
	for _, p := range pairs {
		if !slices.Contains(out, p.want) {
			out = append(out, p.want)
		}
	}
	return out
}

// familyLists are the most frequent families, one more each time.
func familyLists(pairs []pair) []string {
	found := families(pairs)
	slices.SortStableFunc(found, func(a, b Family) int { return b.Clips - a.Clips })
	var out, names []string
	for _, f := range found {
		names = append(names, f.Name)
		out = append(out, joined(names))
	}
	return out
}

// constant is the best that one answer to every clip scores.
func (c closed) constant(of measure, pairs []pair) float64 {
	best, same := 0.0, make([]pair, len(pairs))
	for _, answer := range c.constants(pairs) {
		for i, p := range pairs {
			same[i] = pair{answer, p.want}
		}
		best = max(best, of(same))
	}
	return best
}
