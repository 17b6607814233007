package audiobundle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/engine/model"
)

// Family is a family of models: what its files do not say of it.
type Family struct {
	// Name as --family names it.
	Name string
	// Projector is the kind of projector, a value of model.Projector.Kind.
	Projector string
	// Block is Config.Block.
	Block int
	// AudioS is the most audio of one prompt, in seconds.
	AudioS float64
	// MaxTokens is the default of an answer.
	MaxTokens int
	// Sampling is how the makers decode, where the files do not say it.
	Sampling model.Sampling
	// prefix and suffix stand around the audio; special are the tokens that its prompt needs.
	system, prefix, suffix string
	special                []string
	licence                string
	nonCommercial          bool
}

const (
	assistant = "You are a helpful assistant."
	// flamingo is spelled as in the converter that made the published checkpoint.
	flamingo = "You are Music Flamingo, a multimodal assistant for language and music. On each turn you receive an audio clip which contains music " +
		"and optional text, you will receive at least one or both; use your world knowledge and reasoning to help the user with any task. Interpret " +
		"the entirety of the content any input music--regardlenss of whether the user calls it audio, music, or sound."
	nvidia = "NVIDIA OneWay Noncommercial License: non-commercial use only"
)

// Families lists the families that are known: Qwen2.5-Omni (arXiv:2503.20215), Qwen2-Audio (2407.10759), Audio Flamingo 3 (2507.08128) and Music Flamingo
// (2511.10289), as transformers 5.24.0 serves them.
func Families() []Family {
	return []Family{
		{
			Name: "qwen2.5-omni", Block: 200, AudioS: 300, MaxTokens: 1024, system: assistant, prefix: "<|audio_bos|>", suffix: "<|audio_eos|>",
			special: []string{"<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"}, licence: "Apache-2.0",
		},
		{
			Name: "qwen2-audio", AudioS: 30, MaxTokens: 1024, Sampling: model.Sampling{Temperature: 0.7, TopK: 20, TopP: 0.5, RepetitionPenalty: 1.1},
			system: assistant, prefix: "Audio 1: <|audio_bos|>", suffix: "<|audio_eos|>\n",
			special: []string{"<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"}, licence: "Apache-2.0",
		},
		{
			Name: "audio-flamingo-3", Projector: model.MLP, AudioS: 600, MaxTokens: 1024,
			Sampling: model.Sampling{Temperature: 0.7, TopK: 20, TopP: 0.8, RepetitionPenalty: 1.05}, system: assistant,
			special: []string{"<sound>"}, licence: nvidia, nonCommercial: true,
		},
		{
			Name: "music-flamingo", Projector: model.RoTE, AudioS: 1200, MaxTokens: 2048, system: flamingo, prefix: "<|sound_bos|>", suffix: "<|sound_eos|>",
			special: []string{"<sound>", "<|sound_bos|>", "<|sound_eos|>"}, licence: nvidia, nonCommercial: true,
		},
	}
}

// FamilyNames are the names of Families.
func FamilyNames() []string {
	var names []string
	for _, f := range Families() {
		names = append(names, f.Name)
	}
	return names
}

func familyOf(name string) (Family, error) {
	all := Families()
	if i := slices.IndexFunc(all, func(f Family) bool { return f.Name == name }); i >= 0 {
		return all[i], nil
	}
	return Family{}, fmt.Errorf("family %q is unknown: known are %s", name, strings.Join(FamilyNames(), ", "))
}

// Placeholder is the token that stands for a pooled frame in the family's prompts.
func (f Family) Placeholder() string { return f.special[0] }

// prompt is the family's prompt for a decoder of so many positions.
func (f Family) prompt(context int) model.Prompt {
	return model.Prompt{
		Revision: f.Name + "-1",
		Prefix:   "<|im_start|>system\n" + f.system + "<|im_end|>\n<|im_start|>user\n" + f.prefix,
		Suffix:   f.suffix,
		Question: model.Question + "<|im_end|>\n<|im_start|>assistant\n",
		Turn:     "<|im_end|>\n<|im_start|>user\n", System: f.system,
		Stop: []string{"<|im_end|>", "<|endoftext|>"}, MaxTokens: min(f.MaxTokens, context), AudioS: f.AudioS, Placeholder: f.Placeholder(),
	}
}

// tokens are all special tokens that the prompt needs.
func (f Family) tokens() []string {
	return append([]string{"<|im_start|>", "<|im_end|>", "<|endoftext|>"}, f.special...)
}

// omni3B is the width of Qwen2.5-Omni-3B, whose licence is not that of the 7B.
const omni3B = 2048

// terms are the licence of a model of the family whose decoder has the given width, and whether it forbids commercial use.
func (f Family) terms(hidden int) (licence string, nonCommercial bool) {
	if f.Name == "qwen2.5-omni" && hidden == omni3B {
		return "Qwen Research License: non-commercial use only (the 3B; the 7B is Apache-2.0)", true
	}
	return f.licence, f.nonCommercial
}
