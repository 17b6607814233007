package check

import (
	_ "embed"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Lengths of questions and answers, in characters.
const (
	leastQuestion, mostQuestion = 5, 400
	leastAnswer, mostAnswer     = 1, 3000
)

// phrases.txt lists phrases that mark a pair as useless, by kind: those of the public release of LLark (m2t/instruct/data_validation.py, Apache-2.0) and ours.
//
//go:embed phrases.txt
var phraseText string

// phrase is a phrase as it is listed, and folded.
type phrase struct{ kind, text, folded string }

var answerPhrases, questionPhrases, bothPhrases = func() (answer, question, both []phrase) {
	section := ""
	for line := range strings.Lines(phraseText) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
			continue
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
			continue
		}
		p := phrase{Phrase, line, folded(line)}
		switch section {
		case "answer":
			answer = append(answer, p)
		case "question":
			question = append(question, p)
		case "leak":
			p.kind = Leak
			both = append(both, p)
		}
	}
	return answer, question, both
}()

// form checks what can be checked without the facts.
func form(question, answer string) Fault {
	question, answer = strings.TrimSpace(question), strings.TrimSpace(answer)
	q, a := utf8.RuneCountInString(question), utf8.RuneCountInString(answer)
	switch {
	case !utf8.ValidString(question) || !utf8.ValidString(answer) || strings.ContainsAny(question+answer, "\x00\ufffd"):
		return Fault{Structure, "not plain text"}
	case q == 0 || a == 0:
		return Fault{Structure, "an empty question or answer"}
	case strings.Contains(question+answer, "###") || strings.Contains(question+answer, "<audio"):
		return Fault{Structure, "a mark of the prompt"}
	case strings.ContainsAny(question, "{}") || strings.ContainsAny(answer, "{}") || strings.Contains(answer, "```"):
		return Fault{Structure, "code or JSON"}
	case q < leastQuestion || q > mostQuestion:
		return Fault{Length, "of the question"}
	case a < leastAnswer || a > mostAnswer:
		return Fault{Length, "of the answer"}
	case strings.EqualFold(question, answer):
		return Fault{Structure, "the answer repeats the question"}
	}
	if f := firstPhrase(bothPhrases, question+"\n"+answer); f.Found() {
		return f
	}
	if f := firstPhrase(answerPhrases, answer); f.Found() {
		return f
	}
	if f := firstPhrase(questionPhrases, question); f.Found() {
		return f
	}
	return language(question + " " + answer)
}

func firstPhrase(phrases []phrase, text string) Fault {
	text = folded(text)
	for _, p := range phrases {
		if hasWords(text, p.folded) {
			return Fault{p.kind, p.text}
		}
	}
	return Fault{}
}

// folded is a text in one case; letters with several small forms, such as the long s, have one.
func folded(text string) string { return strings.ToLower(strings.ToUpper(text)) }

// hasWords tells whether whole words of a text are the phrase. Both are folded. A pattern for each phrase would say the same and take most of the time of all checks.
func hasWords(text, phrase string) bool {
	for from := 0; ; {
		at := strings.Index(text[from:], phrase)
		if at < 0 {
			return false
		}
		start, end := from+at, from+at+len(phrase)
		if (start == 0 || !isWord(text[start-1])) && (end == len(text) || !isWord(text[end])) {
			return true
		}
		from = start + 1
	}
}

func isWord(b byte) bool { return b == '_' || '0' <= b && b <= '9' || 'a' <= b && b <= 'z' }

var (
	english = regexp.MustCompile(`(?i)\b(the|a|an|i|no|not|do|its|by|or|be|hear|give|name|is|are|of|and|in|with|this|it|at|to|has|what|which|how|you|does|about|from|there|on)\b`)
	foreign = regexp.MustCompile(`(?i)\b(der|die|das|und|ist|ein|eine|le|la|les|est|une|des|el|los|las|es|una|que|del|il|che|di|een|het|och|är)\b`)
)

// language asks for English: letters of its alphabet, and more of its small words than of its neighbours'.
func language(text string) Fault {
	letters, latin := 0, 0
	for _, r := range text {
		if unicode.IsLetter(r) {
			letters++
			if r < 0x250 {
				latin++
			}
		}
	}
	ours, theirs := len(english.FindAllString(text, -1)), len(foreign.FindAllString(text, -1))
	if letters > 0 && latin*10 < letters*9 || ours < theirs || ours == 0 && len(strings.Fields(text)) > 6 {
		return Fault{Language, "not English"}
	}
	return Fault{}
}
