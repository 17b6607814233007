package prompt

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/tokenizer"
	"github.com/larkstream/larkstream/engine/model"
)

// letters is a vocabulary of bytes and a few special tokens from 256 on, in which white space can be seen.
type letters struct{}

var names = []string{"<s>", "</s>", "<audio_start>", "<audio_end>"}

func (letters) Size() int                        { return 256 + len(names) }
func (letters) Normalize(question string) string { return strings.ToLower(question) }
func (letters) Stops() []int                     { return []int{257} }
func (letters) Piece(id int) ([]byte, error)     { return []byte{byte(id)}, nil }

func (letters) SpecialAt(text string) (id, size int) {
	for i, name := range names {
		if strings.HasPrefix(text, name) {
			return 256 + i, len(name)
		}
	}
	return 0, 0
}

func (letters) Plain(text string) ([]int, error) {
	if strings.Contains(text, "\x00") {
		return nil, fmt.Errorf("%q", text)
	}
	ids := []int{'_'}
	for _, b := range []byte(text) {
		ids = append(ids, int(b))
	}
	return ids, nil
}

func spell(ids []int) string {
	var s strings.Builder
	for _, id := range ids {
		if id >= 256 {
			s.WriteString(names[id-256])
		} else {
			s.WriteByte(byte(id))
		}
	}
	return s.String()
}

var _ Vocabulary = letters{}

// larks is LLark's prompt.
func larks(whitespace string) model.Prompt {
	return model.Prompt{
		Revision: "1", Prefix: "<s>A chat.\n\n### Human: <audio_start>", Suffix: "<audio_end>", Question: "\n{question}\n### Assistant:",
		Stop: []string{"###", "</s>"}, MaxTokens: 8, Whitespace: whitespace,
	}
}

func TestPrompt(t *testing.T) {
	t.Parallel()
	const question = " \u00a0What <s> IS\n\x1c"
	for whitespace, want := range map[string][2]string{
		"":             {"<s>_A chat.\n\n### Human: <audio_start>", "<audio_end>_\n \u00a0what <s> is\n\x1c\n### Assistant:"},
		model.Verbatim: {"<s>_A chat.\n\n### Human: <audio_start>", "<audio_end>_\n \u00a0what <s> is\n\x1c\n### Assistant:"},
		model.Trained:  {"<s>_A chat.\n\n### Human:<audio_start>", "<audio_end>_what <s> is\n\x1c\n### Assistant:"},
	} {
		p, err := New(larks(whitespace), letters{})
		require.NoError(t, err)
		after, err := p.After(question)
		require.NoError(t, err)
		require.Equal(t, want, [2]string{spell(p.Prefix()), spell(after)}, whitespace)
		require.Len(t, p.Prefix(), p.Before(0))
		require.Equal(t, map[int]bool{257: true}, p.stop)
		require.Equal(t, []string{"###"}, p.stopTexts)
		for _, id := range after[1:] {
			require.Less(t, id, 256, "the user's text is no special token")
		}
		require.NoError(t, p.CheckSplice(5, p.Before(0), p.Before(5), after))
		require.ErrorContains(t, p.CheckSplice(5, p.Before(0), p.Before(4), after), "splicing 5 frames")
		require.ErrorContains(t, p.CheckSplice(5, p.Before(0), p.Before(5), after[1:]), "splicing 5 frames")
		_, err = p.After("\x00")
		require.ErrorContains(t, err, "encoding the prompt")
	}
}

func TestPromptWithAQuestionBetweenSpecialTokens(t *testing.T) {
	t.Parallel()
	m := larks(model.Trained)
	m.Suffix, m.Question = "<audio_end> Listen. <s> ", " {question} </s> And? "
	p, err := New(m, letters{})
	require.NoError(t, err)
	after, err := p.After("  Key?  ")
	require.NoError(t, err)
	require.Equal(t, "<audio_end>_Listen.<s>_key?</s>_And? ", spell(after))
	after, err = p.After("  ")
	require.NoError(t, err)
	require.Equal(t, "<audio_end>_Listen.<s></s>_And? ", spell(after), "text of white space only is none")
}

// A given answer stands where the model begins its own, and begins as the model's own does.
func TestGivenAnswers(t *testing.T) {
	t.Parallel()
	given := func(m model.Prompt, question, answer string) (string, error) {
		p, err := New(m, letters{})
		require.NoError(t, err)
		ids, err := p.Given(question, answer)
		return spell(ids), err
	}
	chat := larks("")
	chat.Question = "{question}<s>assistant\n"
	alone := larks("")
	alone.Question = "{question}<s>"
	for _, c := range []struct {
		prompt model.Prompt
		answer string
		want   string
	}{
		{larks(model.Trained), "In C major", " In C major"}, // behind "### Assistant:"
		{larks(""), "\n In C </s> major ", " In C </s> major"},
		{chat, "In C", "In C"},   // white space is there already
		{alone, "In C", "_In C"}, // the vocabulary itself marks the beginning of a text
	} {
		got, err := given(c.prompt, "Key?", c.answer)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	_, err := given(larks(""), "Key?", " \n")
	require.ErrorContains(t, err, "it is empty")
	_, err = given(larks(""), "\x00", "x")
	require.ErrorContains(t, err, "encoding the prompt")
	_, err = given(larks(""), "Key?", "\x00")
	require.ErrorContains(t, err, "encoding the prompt")
}

// joining is a vocabulary in which a space and the letter behind it are one token, as in many.
type joining struct{ letters }

func (j joining) Plain(text string) ([]int, error) {
	ids, err := j.letters.Plain(strings.ReplaceAll(text, " C", "C"))
	return ids, err
}

func TestAGivenAnswerWhoseFirstTokenBeginsWithinThePrompt(t *testing.T) {
	t.Parallel()
	m := larks("")
	m.Question += " "
	p, err := New(m, joining{})
	require.NoError(t, err)
	_, err = p.Given("Key?", "D")
	require.NoError(t, err)
	_, err = p.Given("Key?", "C")
	require.ErrorContains(t, err, "would begin within the prompt")
}

func TestFramesStandBetweenSpecialTokens(t *testing.T) {
	t.Parallel()
	for _, broken := range []func(*model.Prompt){
		func(p *model.Prompt) { p.Prefix = "" },
		func(p *model.Prompt) { p.Prefix += "x" },
		func(p *model.Prompt) { p.Suffix = "" },
		func(p *model.Prompt) { p.Suffix = " <audio_end>" },
		func(p *model.Prompt) { p.Suffix, p.Question = "", "{question}" },
		func(p *model.Prompt) { p.Prefix = "<s>x" },
	} {
		p := larks("")
		broken(&p)
		_, err := New(p, letters{})
		require.ErrorContains(t, err, "<audio_start>")
	}
	for whitespace, want := range map[string]string{model.Verbatim: "<s>_x >_\nkey?", model.Trained: "<s>_x>_key?"} {
		p, err := New(model.Prompt{Prefix: "<s>x ", Suffix: "\n", Question: "{question}", Whitespace: whitespace}, letters{})
		require.NoError(t, err, "frames alone")
		after, err := p.After("Key?")
		require.NoError(t, err)
		require.Equal(t, want, spell(p.Prefix())+">"+spell(after))
		require.NoError(t, p.CheckSplice(5, p.Before(0), p.Before(5), after))
	}
	for _, broken := range []func(*model.Prompt){
		func(p *model.Prompt) { p.Prefix, p.Suffix = "<s><Audio>", "</Audio>" },
		func(p *model.Prompt) { p.Question += "<|end|>" },
		func(p *model.Prompt) { p.Stop = []string{"###", "<eos>"} },
	} {
		p := larks("")
		broken(&p)
		_, err := New(p, letters{})
		require.ErrorContains(t, err, "is not a token of the tokenizer")
	}
	m := larks("")
	m.Stop = []string{""}
	_, err := New(m, letters{})
	require.ErrorContains(t, err, "prompt.stop holds an empty text")
	m = larks("")
	m.Prefix = "\x00" + m.Prefix
	_, err = New(m, letters{})
	require.ErrorContains(t, err, "encoding the prompt")
}

// streamed pushes ids of letters one by one and gives what came out, part by part, and whether a stop text came.
func streamed(t *testing.T, answer string, stops ...string) (parts []string, stopped bool) {
	t.Helper()
	x := NewText(tokenizer.NewStream(letters{}), stops)
	for _, b := range []byte(answer) {
		part, end, err := x.Push(int(b))
		require.NoError(t, err)
		if part != "" {
			parts = append(parts, part)
		}
		if end {
			require.Empty(t, x.End(true))
			return parts, true
		}
	}
	if part := x.End(false); part != "" {
		parts = append(parts, part)
	}
	return parts, false
}

func TestStopTexts(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string][]string{
		"ok\n###":         {"o", "k"},
		"ok \n ### Human": {"o", "k"},
		"###":             nil,
		"a#b##c###":       {"a", "#b", "##c"},
		"a####":           {"a"},
		"a b\n":           {"a", " b", "\n"},
		"F#":              {"F", "#"},
		"é\xe2###":        {"é", "\uFFFD"},
		"a STOP":          {"a"},
		"a STO ##":        {"a", " STO", " ##"},
	} {
		parts, stopped := streamed(t, answer, "###", "STOP")
		require.Equal(t, want, parts, "%q", answer)
		require.Equal(t, strings.Contains(answer, "###") || strings.Contains(answer, "STOP"), stopped, "%q", answer)
	}
	parts, stopped := streamed(t, "a ###\n")
	require.Equal(t, []string{"a", " ", "#", "#", "#", "\n"}, parts, "without stop texts nothing is held back")
	require.False(t, stopped)
	x := NewText(tokenizer.NewStream(letters{}), []string{"###"})
	part, _, err := x.Push('\n')
	require.NoError(t, err)
	require.Empty(t, part)
	require.Empty(t, x.End(true), "a stop token ends the text like a stop text")
}

// FuzzStopTexts: what is streamed is the text up to the stop text without the white space before it, whatever the pieces.
func FuzzStopTexts(f *testing.F) {
	f.Add("some text\n### Human", "###")
	f.Add("#a##b", "##b")
	f.Fuzz(func(t *testing.T, answer, stop string) {
		if stop == "" || !utf8.ValidString(stop) || len(answer) > 1000 {
			return
		}
		whole, _ := streamed(t, answer) // as valid UTF-8
		parts, stopped := streamed(t, answer, stop)
		want, _, found := strings.Cut(strings.Join(whole, ""), stop)
		if found != stopped { // only by a character that the end of the text made
			require.Contains(t, stop, "\uFFFD")
			return
		}
		if found {
			want = strings.TrimRightFunc(want, unicode.IsSpace)
		}
		require.Equal(t, want, strings.Join(parts, ""))
	})
}
