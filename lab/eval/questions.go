package eval

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Tasks in the order of reports.
const (
	TaskKey          = "key"
	TaskTempo        = "tempo"
	TaskMetre        = "metre"
	TaskInstruments  = "instruments"
	TaskDrums        = "drums"
	TaskGenre        = "genre"
	TaskCaptions     = "captions"
	TaskChoice       = "choice"
	TaskUnanswerable = "unanswerable"
	TaskConsistency  = "consistency"
	TaskGrounding    = "grounding"
	TaskRobustness   = "robustness"
)

// Tasks lists all tasks.
func Tasks() []string {
	return []string{
		TaskKey, TaskTempo, TaskMetre, TaskInstruments, TaskDrums, TaskGenre, TaskCaptions, TaskChoice, TaskUnanswerable,
		TaskConsistency, TaskGrounding, TaskRobustness,
	}
}

// DefaultTasks are all but robustness, which hears every clip four more times.
func DefaultTasks() []string {
	return slices.DeleteFunc(Tasks(), func(t string) bool { return t == TaskRobustness })
}

// CheckTasks refuses a name that is no task.
func CheckTasks(names []string) error {
	for _, n := range names {
		if !slices.Contains(Tasks(), n) {
			return fmt.Errorf("task %.40q is not known: the tasks are %s", n, strings.Join(Tasks(), ", "))
		}
	}
	return nil
}

// How a multiple choice is answered.
const (
	// ChoicesText: the model is asked with the options and says which it takes.
	ChoicesText = "text"
	// ChoicesLikelihood: the option that is the likeliest answer to the question alone is taken.
	ChoicesLikelihood = "likelihood"
)

// CheckChoices refuses a name that is no way to answer a multiple choice.
func CheckChoices(names []string) error {
	for _, n := range names {
		if n != ChoicesText && n != ChoicesLikelihood {
			return fmt.Errorf("choices by %.40q are not known: they are answered by %s, by %s, or by both", n, ChoicesText, ChoicesLikelihood)
		}
	}
	return nil
}

// withFacts adds all closed tasks where only consistency, grounding or robustness are asked for, which are about them; no task at all means the default
// ones.
func withFacts(names []string) []string {
	if len(names) == 0 {
		return DefaultTasks()
	}
	of := []string{TaskConsistency, TaskGrounding, TaskRobustness}
	if slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(of, n) }) {
		return names
	}
	return append([]string{TaskKey, TaskTempo, TaskMetre, TaskInstruments, TaskDrums, TaskGenre}, names...)
}

// wordingsPerFact is how many wordings consistency compares.
const wordingsPerFact = 8

// defaultWordings hold for each fact eight wordings. The first five or six are kept back from lark-nano's training (training/nano/questions.py, split
// test); genre and captions are asked in LLark's words.
//
//go:embed questions.json
var defaultWordings []byte

// Wordings are the questions of each task.
type Wordings map[string][]string

const maxWordings = 1 << 20

// ReadWordings reads a JSON file of wordings by task; an empty path gives the default ones.
func ReadWordings(path string) (Wordings, error) {
	raw := defaultWordings
	if path != "" {
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("reading questions: %w", err)
		}
		defer file.Close()
		if raw, err = io.ReadAll(io.LimitReader(file, maxWordings)); err != nil {
			return nil, fmt.Errorf("reading questions: %w", err)
		}
	}
	var w Wordings
	if err := json.Unmarshal(raw, &w); err != nil {
		return nil, fmt.Errorf("reading questions: want an object of task to a list of wordings: %w", err)
	}
	for _, task := range []string{TaskTempo, TaskKey, TaskMetre, TaskDrums, TaskInstruments, TaskGenre, TaskCaptions, TaskUnanswerable} {
		if len(w[task]) == 0 {
			return nil, fmt.Errorf("reading questions: none for %s", task)
		}
	}
	return w, nil
}

// pick is the wording that clip i is asked: they take turns.
func (w Wordings) pick(task string, i int) string { return w[task][i%len(w[task])] }

// asked is a choice as it is asked: the options in an order of its own, under letters, in the words of MuChoMusic.
type asked struct {
	text    string
	choices []string
	right   string
}

// ask shuffles the options by the seed, the clip and the number of the question.
func (q Choice) ask(seed uint64, clip string, number int) asked {
	choices := slices.Clone(q.Choices)
	shuffler(seed, clip, number).Shuffle(len(choices), func(a, b int) { choices[a], choices[b] = choices[b], choices[a] })
	var b strings.Builder
	fmt.Fprintf(&b, "Question: %s\nOptions: ", q.Question)
	for i, c := range choices {
		fmt.Fprintf(&b, "(%c) %s ", letters[i], c)
	}
	b.WriteString("\nThe correct answer is:")
	return asked{text: b.String(), choices: choices, right: strconv.Itoa(slices.Index(choices, q.Answer))}
}
