package llamabundle

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/larkstream/larkstream/engine/model"
)

// config is config.json of a Hugging Face folder, as far as it matters. Pointers tell what is absent from what is zero.
type config struct {
	HiddenSize       int             `json:"hidden_size"`
	Layers           int             `json:"num_hidden_layers"`
	Heads            int             `json:"num_attention_heads"`
	KVHeads          int             `json:"num_key_value_heads"`
	HeadDim          int             `json:"head_dim"`
	IntermediateSize int             `json:"intermediate_size"`
	VocabSize        int             `json:"vocab_size"`
	Positions        int             `json:"max_position_embeddings"`
	NormEps          float64         `json:"rms_norm_eps"`
	RopeTheta        float64         `json:"rope_theta"`
	RopeScaling      json.RawMessage `json:"rope_scaling"`
	RopeParameters   *struct {
		Theta float64 `json:"rope_theta"`
		Type  string  `json:"rope_type"`
	} `json:"rope_parameters"`
	SlidingWindow *int   `json:"sliding_window"`
	HiddenAct     string `json:"hidden_act"`
	AttentionBias bool   `json:"attention_bias"`
	MLPBias       bool   `json:"mlp_bias"`
	Tied          bool   `json:"tie_word_embeddings"`
	// AudioTokens is LLark's switch for the tokens around the frames.
	AudioTokens *bool `json:"mm_use_audio_start_end"`
}

const (
	maxConfig    = 1 << 20  // bytes of config.json
	maxIndex     = 64 << 20 // bytes of the list of shards
	maxTokenizer = 64 << 20
)

// readJSON reads a file of dir into v. It tells whether there is one.
func readJSON(dir, name string, limit int64, v any) (bool, error) {
	raw, err := readFile(filepath.Join(dir, name), limit)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		return true, fmt.Errorf("reading %s: %w", filepath.Join(dir, name), err)
	}
	return true, nil
}

func readFile(path string, limit int64) ([]byte, error) {
	f, err := model.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("it is larger than %d bytes", limit)
	}
	return raw, err
}

// readConfig reads config.json. The defaults are the defaults of transformers' LlamaConfig.
func readConfig(dir string) (config, Shape, error) {
	var c config
	found, err := readJSON(dir, "config.json", maxConfig, &c)
	if err != nil {
		return c, Shape{}, err
	}
	if !found {
		return c, Shape{}, fmt.Errorf("%s has no config.json: it is not the folder of a Hugging Face model", dir)
	}
	theta := c.RopeTheta
	if c.RopeParameters != nil {
		theta = cmp.Or(theta, c.RopeParameters.Theta)
	}
	s := Shape{
		Layers: c.Layers, Hidden: c.HiddenSize, Heads: c.Heads, KVHeads: cmp.Or(c.KVHeads, c.Heads), FFN: c.IntermediateSize, Vocab: c.VocabSize,
		Context: cmp.Or(c.Positions, 2048), RopeBase: cmp.Or(theta, 10000), NormEps: cmp.Or(c.NormEps, 1e-6), Tied: c.Tied,
	}
	if err := errors.Join(s.Validate(), c.check(s)); err != nil {
		return c, s, fmt.Errorf("checking %s: %w", filepath.Join(dir, "config.json"), err)
	}
	return c, s, nil
}

// check refuses what Llama-2 has not.
func (c config) check(s Shape) error {
	var faults []error
	refuse := func(wrong bool, what string) {
		if wrong {
			faults = append(faults, fmt.Errorf("%s, which Llama-2 has not: %s", what, ready))
		}
	}
	scaling := string(c.RopeScaling)
	refuse(scaling != "" && scaling != "null", "rope_scaling is "+scaling)
	refuse(c.RopeParameters != nil && cmp.Or(c.RopeParameters.Type, "default") != "default", "the rope_type is not default")
	refuse(c.SlidingWindow != nil && *c.SlidingWindow < s.Context, "it has a sliding_window")
	refuse(cmp.Or(c.HiddenAct, "silu") != "silu", fmt.Sprintf("hidden_act is %q", c.HiddenAct))
	refuse(c.AttentionBias || c.MLPBias, "its layers have biases")
	refuse(c.HeadDim != 0 && s.Heads > 0 && c.HeadDim*s.Heads != s.Hidden, fmt.Sprintf("head_dim is %d", c.HeadDim))
	return errors.Join(faults...)
}
