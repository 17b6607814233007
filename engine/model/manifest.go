package model

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Question is the placeholder of the user's text in Prompt.Question.
const Question = "{question}"

// Values of Encoder.Engine whose encoders have several precisions.
const (
	// Jukebox is LLark's encoder.
	Jukebox = "jukebox"
	// Whisper is the encoder of Qwen2.5-Omni, Qwen2-Audio, Audio Flamingo 3 and Music Flamingo.
	Whisper = "whisper"
)

// DefaultSampleRate is the sample rate of encoders whose bundle names none, in Hz.
const DefaultSampleRate = 44100

// Values of Projector.Kind. The empty kind is one linear layer.
const (
	// MLP is two linear layers with GELU between them.
	MLP = "mlp"
	// RoTE is MLP behind a rotation of the frames by their time (Music Flamingo).
	RoTE = "rote"
)

// Values of LLM.Engine whose decoder may be a GGUF file with its tokenizer inside.
const (
	LlamaCPP = "llamacpp"
	VLLM     = "vllm" // a server decodes; of the file only the tokenizer and the token embeddings are read
)

// Values of Prompt.Whitespace.
const (
	// Trained strips white space on both sides of special tokens, as the tokenizer that LLark was trained with did.
	Trained = "trained"
	// Verbatim keeps the template as it is written.
	Verbatim = "verbatim"
)

// Manifest is the content of model.yaml. A bundle has all parts, or the encoder only: then projector, llm and prompt are
// absent together.
type Manifest struct {
	Format  string `yaml:"format"`
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
	Random  bool   `yaml:"random"` // weights are random: answers mean nothing
	Licence string `yaml:"licence"`
	// NonCommercial says that the licence forbids commercial use; every answer's model name tells it.
	NonCommercial bool           `yaml:"non_commercial,omitempty"`
	Encoder       Encoder        `yaml:"encoder"`
	Projector     Projector      `yaml:"projector,omitempty"`
	LLM           LLM            `yaml:"llm,omitempty"`
	Prompt        Prompt         `yaml:"prompt,omitempty"`
	Quality       map[string]any `yaml:"quality,omitempty"` // measured quality, free-form
}

// Encoder describes the part that turns a window of audio into frames.
type Encoder struct {
	Engine      string         `yaml:"engine"`
	File        string         `yaml:"file"`
	SHA256      string         `yaml:"sha256"`
	Width       int            `yaml:"width"`                 // values per frame
	FrameRateHz float64        `yaml:"frame_rate_hz"`         // frames per second
	SpanS       float64        `yaml:"span_s"`                // longest window, seconds
	SampleRate  int            `yaml:"sample_rate,omitempty"` // of the PCM that it hears, Hz; absent: 44100
	ID          string         `yaml:"id"`                    // names the encoder in keys
	Precision   string         `yaml:"precision"`             // arithmetic, part of the key
	Config      map[string]any `yaml:"config,omitempty"`
}

// Rate is the sample rate of the PCM that the encoder hears, in Hz.
func (e Encoder) Rate() int { return cmp.Or(e.SampleRate, DefaultSampleRate) }

// HearsShortEnds tells whether the encoder hears a window of any length as it is, without padding, so that the last window of a track may be short.
func (e Encoder) HearsShortEnds() bool { return e.Engine == Whisper }

// Projector describes what turns frames into rows of the decoder's width.
type Projector struct {
	Kind   string `yaml:"kind,omitempty"` // absent: linear
	File   string `yaml:"file"`
	SHA256 string `yaml:"sha256"`
	In     int    `yaml:"in"`
	Out    int    `yaml:"out"`
}

// LLM describes the decoder, in the terms of Hugging Face's Llama configuration. With the engines llamacpp and vllm, File may be
// a GGUF, and the tokenizer absent: then the GGUF's own tokenizer is used.
type LLM struct {
	Engine          string  `yaml:"engine"`
	File            string  `yaml:"file"`
	SHA256          string  `yaml:"sha256"`
	Layers          int     `yaml:"layers"`
	Hidden          int     `yaml:"hidden"`
	Heads           int     `yaml:"heads"`
	KVHeads         int     `yaml:"kv_heads"`
	FFN             int     `yaml:"ffn"`
	Vocab           int     `yaml:"vocab"`
	RopeBase        float64 `yaml:"rope_base"`
	NormEps         float64 `yaml:"norm_eps"`
	Context         int     `yaml:"context"` // positions, frames and answer included
	Tokenizer       string  `yaml:"tokenizer,omitempty"`
	TokenizerSHA256 string  `yaml:"tokenizer_sha256,omitempty"`
	// Sampling is how the model's makers decode; absent: greedy.
	Sampling Sampling `yaml:"sampling,omitempty"`
	// Notes is the file that says what the decoder notes of a window before it reads a question; absent: it answers freely.
	Notes       string `yaml:"notes,omitempty"`
	NotesSHA256 string `yaml:"notes_sha256,omitempty"`
}

// Sampling is how tokens are chosen where a job does not say so, in the terms of Hugging Face's generation_config.json.
type Sampling struct {
	Temperature       float32 `yaml:"temperature,omitempty"`        // 0: greedy
	TopK              int     `yaml:"top_k,omitempty"`              // 0: all tokens
	TopP              float32 `yaml:"top_p,omitempty"`              // 0: 1, all tokens
	RepetitionPenalty float32 `yaml:"repetition_penalty,omitempty"` // 0: 1, none
}

// Validate refuses settings that no engine takes.
func (s Sampling) Validate() error {
	inside := func(v, high float32) bool { return v >= 0 && v <= high }
	if !inside(s.Temperature, 10) || !inside(s.TopP, 1) || s.TopK < 0 || s.TopK > 1<<20 || s.RepetitionPenalty != 0 && !(s.RepetitionPenalty >= 0.1 && s.RepetitionPenalty <= 10) {
		return fmt.Errorf("temperature %v must be 0 to 10, top_k %d 0 to %d, top_p %v 0 to 1, repetition_penalty %v 0.1 to 10", s.Temperature, s.TopK, 1<<20, s.TopP, s.RepetitionPenalty)
	}
	return nil
}

// Prompt is the text around frames and question: prefix, frames, suffix, question, answer. Special tokens are written
// by name.
type Prompt struct {
	Revision   string   `yaml:"revision"`
	Prefix     string   `yaml:"prefix"`
	Suffix     string   `yaml:"suffix"`
	Question   string   `yaml:"question"`             // holds {question} once
	Whitespace string   `yaml:"whitespace,omitempty"` // around special tokens: trained or verbatim, which is the default
	Stop       []string `yaml:"stop"`                 // special tokens by name; with llamacpp also text, at which the answer ends
	MaxTokens  int      `yaml:"max_tokens"`           // of an answer, unless the job asks for fewer
	// AudioS is the most audio that the model was made to hear in one prompt, in seconds. Absent: the encoder's span.
	AudioS float64 `yaml:"audio_s,omitempty"`
	// Turn stands between an answer and the next question of a conversation. Absent: the model takes no follow-up questions.
	Turn string `yaml:"turn,omitempty"`
	// System is the part of Prefix that a system text takes the place of. Absent: the model takes none.
	System string `yaml:"system,omitempty"`
	// Placeholder is the token that stands for a frame where others write the prompt in ids.
	Placeholder string `yaml:"placeholder,omitempty"`
}

// EncoderOnly tells that projector, decoder and prompt are absent.
func (m *Manifest) EncoderOnly() bool {
	return m.Projector == Projector{} && m.LLM == LLM{} && reflect.ValueOf(m.Prompt).IsZero()
}

// Part is a part of a bundle that lies in a file of its own, named as its key in model.yaml.
type Part string

// Parts of a bundle.
const (
	PartEncoder   Part = "encoder"
	PartProjector Part = "projector"
	PartLLM       Part = "llm"
	PartNotes     Part = "llm.notes"
	PartTokenizer Part = "llm.tokenizer" //nolint:gosec // G101 takes a key of model.yaml for a credential
)

// partFile is where a part lies, and the place of its digest in the manifest.
type partFile struct {
	key    Part
	file   string
	sha256 *string
}

// files are the files of the given parts, or of all parts.
func (m *Manifest) files(parts ...Part) []partFile {
	var chosen []partFile
	for _, f := range m.parts() {
		if len(parts) == 0 || slices.Contains(parts, f.key) {
			chosen = append(chosen, f)
		}
	}
	return chosen
}

func (m *Manifest) parts() []partFile {
	all := []partFile{
		{PartEncoder, m.Encoder.File, &m.Encoder.SHA256},
		{PartProjector, m.Projector.File, &m.Projector.SHA256},
		{PartLLM, m.LLM.File, &m.LLM.SHA256},
		{PartTokenizer, m.LLM.Tokenizer, &m.LLM.TokenizerSHA256},
	}
	switch {
	case m.EncoderOnly():
		return all[:1]
	case (m.LLM.Engine == LlamaCPP || m.LLM.Engine == VLLM) && m.LLM.Tokenizer == "":
		return all[:3]
	case m.LLM.Notes != "":
		return append(all, partFile{PartNotes, m.LLM.Notes, &m.LLM.NotesSHA256})
	}
	return all
}

// digest is the SHA-256 over the digests of the parts, the encoder's key fields and the prompt.
func (m *Manifest) digest() string {
	hash := sha256.New()
	fmt.Fprintf(hash, "%s\n%s %s\n", m.Format, m.Encoder.ID, m.Encoder.Precision)
	for _, p := range m.parts() {
		fmt.Fprintf(hash, "%s %s\n", p.key, *p.sha256)
	}
	p := m.Prompt
	fmt.Fprintf(hash, "prompt %q %q %q %q %q\n", p.Revision, p.Prefix, p.Suffix, p.Question, p.Stop)
	if m.Projector.Kind != "" {
		fmt.Fprintf(hash, "projector %s\n", m.Projector.Kind)
	}
	if p.Turn != "" {
		fmt.Fprintf(hash, "turn %q\n", p.Turn)
	}
	if s := m.LLM.Sampling; s != (Sampling{}) {
		fmt.Fprintf(hash, "sampling %v %v %v %v\n", s.Temperature, s.TopK, s.TopP, s.RepetitionPenalty)
	}
	if p.Whitespace == Trained { // a line of its own, so that the digests of other bundles stay
		fmt.Fprintf(hash, "whitespace %s\n", p.Whitespace)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

var (
	keyWord = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	hexSHA  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// Validate reports every fault of the manifest at once.
func (m *Manifest) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(m.Format == Format, "format is %q, where %q is expected", m.Format, Format)
	check(keyWord.MatchString(m.Name), "name %q must match %s", m.Name, keyWord)
	for _, p := range m.parts() {
		check(p.file != "" && filepath.IsLocal(p.file), "%s: file %q must be a relative path inside the bundle", p.key, p.file)
		check(hexSHA.MatchString(*p.sha256), "%s: sha256 %q must be 64 hex digits", p.key, *p.sha256)
	}
	m.checkEncoder(check)
	if !m.EncoderOnly() {
		m.checkLLM(check)
	}
	return errors.Join(faults...)
}

func (m *Manifest) checkEncoder(check func(bool, string, ...any)) {
	e := m.Encoder
	check(e.Engine != "", "encoder.engine is missing")
	check(keyWord.MatchString(e.ID), "encoder.id %q must match %s", e.ID, keyWord)
	check(keyWord.MatchString(e.Precision), "encoder.precision %q must match %s", e.Precision, keyWord)
	check(within(e.Width, 1<<16), "encoder.width %d is out of range", e.Width)
	check(e.FrameRateHz > 0 && e.FrameRateHz <= 1000, "encoder.frame_rate_hz %v is out of range", e.FrameRateHz)
	check(e.SampleRate == 0 || e.SampleRate >= 8000 && e.SampleRate <= 192_000, "encoder.sample_rate %d is out of range", e.SampleRate)
	check(e.SpanS > 0 && e.SpanS <= 600, "encoder.span_s %v is out of range", e.SpanS)
}

func (m *Manifest) checkLLM(check func(bool, string, ...any)) {
	l, p := m.LLM, m.Prompt
	check(m.Projector.In == m.Encoder.Width, "projector.in %d must equal encoder.width %d", m.Projector.In, m.Encoder.Width)
	check(m.Projector.Out == l.Hidden, "projector.out %d must equal llm.hidden %d", m.Projector.Out, l.Hidden)
	check(slices.Contains([]string{"", MLP, RoTE}, m.Projector.Kind), "projector.kind %q must be %s or %s, or be absent for a linear layer", m.Projector.Kind, MLP, RoTE)
	check(p.AudioS >= 0 && p.AudioS <= 7200, "prompt.audio_s %v is out of range", p.AudioS)
	check(l.Engine != "", "llm.engine is missing")
	check(within(l.Layers, 1024) && within(l.Hidden, 1<<16) && within(l.FFN, 1<<18) && within(l.Vocab, 1<<20),
		"llm: layers %d, hidden %d, ffn %d or vocab %d is out of range", l.Layers, l.Hidden, l.FFN, l.Vocab)
	check(within(l.Heads, 1024) && within(l.KVHeads, l.Heads) && l.Heads%max(l.KVHeads, 1) == 0 && l.Hidden%max(2*l.Heads, 1) == 0,
		"llm: %d heads and %d kv_heads do not divide width %d", l.Heads, l.KVHeads, l.Hidden)
	check(l.RopeBase >= 1 && !math.IsInf(l.RopeBase, 0), "llm.rope_base %v is out of range", l.RopeBase)
	check(l.NormEps > 0 && l.NormEps < 1, "llm.norm_eps %v is out of range", l.NormEps)
	check(within(l.Context, 1<<20), "llm.context %d is out of range", l.Context)
	if err := l.Sampling.Validate(); err != nil {
		check(false, "llm.sampling: %v", err)
	}
	check(p.Revision != "", "prompt.revision is missing")
	check(strings.Count(p.Question, Question) == 1, "prompt.question must hold %s once", Question)
	check(p.Whitespace == "" || p.Whitespace == Trained || p.Whitespace == Verbatim,
		"prompt.whitespace %q must be %s or %s", p.Whitespace, Trained, Verbatim)
	check(p.System == "" || strings.Count(p.Prefix, p.System) == 1, "prompt.system must stand in prompt.prefix once")
	check(len(p.Stop) > 0 && !slices.Contains(p.Stop, ""), "prompt.stop is missing or holds an empty text")
	check(within(p.MaxTokens, l.Context), "prompt.max_tokens %d must be between 1 and the context of %d", p.MaxTokens, l.Context)
}

func within(v, high int) bool { return v >= 1 && v <= high }

// Seal computes the digests of the files in dir, validates the manifest and writes it to dir/model.yaml.
func (m Manifest) Seal(dir string) error {
	for _, p := range m.parts() {
		if p.file == "" {
			continue // Validate tells
		}
		digest, err := FileDigest(filepath.Join(dir, p.file))
		if err != nil {
			return fmt.Errorf("sealing the bundle: %w", err)
		}
		*p.sha256 = digest
	}
	return m.Write(dir)
}

// Write validates a manifest whose digests are known and writes it to dir/model.yaml.
func (m Manifest) Write(dir string) error {
	if err := m.Validate(); err != nil {
		return fmt.Errorf("sealing the bundle: %w", err)
	}
	var text bytes.Buffer
	if err := yaml.NewEncoder(&text).Encode(m); err != nil {
		return fmt.Errorf("sealing the bundle: %w", err)
	}
	return writeWhole(filepath.Join(dir, ManifestFile), func(w io.Writer) error {
		_, err := w.Write(text.Bytes())
		return err
	})
}
