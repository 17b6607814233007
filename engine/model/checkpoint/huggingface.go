package checkpoint

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	hfBlock = regexp.MustCompile(`^(encoders\.\d+\.level_blocks\.\d+)\.downsample_block\.(\d{1,3})\.(.+)$`)
	hfUnit  = regexp.MustCompile(`^resnet_block\.(\d{1,3})\.conv1d_([12])\.(weight|bias)$`)
	hfOut   = regexp.MustCompile(`^(encoders\.\d+\.level_blocks\.(\d+))\.proj_out\.(weight|bias)$`)
	hfConv  = regexp.MustCompile(`^(prior\.transformer\._attn_mods\.\d+\.(?:attn|mlp)\.c_[a-z]+)\.(w|b)(?:eight|ias)$`)
)

// topDowns are the stages of the three blocks of Jukebox's level-2 encoder (jukebox/hparams.py: downs_t).
var topDowns = []int{3, 2, 2}

// canonical turns a name of Hugging Face's Jukebox into the original's (its conversion script,
// transformers/models/deprecated/jukebox/convert_jukebox.py, does the opposite); other names stay.
func canonical(name string) string {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "vqvae."), "priors.0.")
	if m := hfBlock.FindStringSubmatch(name); m != nil {
		return hfEncoder(m[1], m[2], m[3])
	}
	if m := hfOut.FindStringSubmatch(name); m != nil {
		if block, err := strconv.Atoi(m[2]); err == nil && block < len(topDowns) {
			return fmt.Sprintf("%s.model.%d.%s", m[1], topDowns[block], m[3])
		}
	}
	if m := hfConv.FindStringSubmatch(name); m != nil {
		return m[1] + "." + m[2]
	}
	if rest, ok := strings.CutPrefix(name, "metadata_embedding."); ok {
		if part, isPlain := strings.CutSuffix(rest, "_emb.weight"); isPlain {
			rest = part + "_emb.emb.weight"
		}
		return "y_emb." + rest
	}
	if strings.HasPrefix(name, "bottleneck.") {
		return strings.Replace(name, ".codebook", ".k", 1)
	}
	return strings.NewReplacer(".layer_norm_", ".ln_", "prior.embed_tokens.", "prior.x_emb.", "prior.fc_proj_out.", "prior.x_out.").Replace(name)
}

// hfEncoder renames one stage of an encoder: stage 2i is the strided convolution of model.i, 2i+1 its residual units.
func hfEncoder(block, stage, rest string) string {
	n, err := strconv.Atoi(stage)
	if err != nil {
		return block + "." + rest
	}
	if m := hfUnit.FindStringSubmatch(rest); m != nil {
		conv := map[string]int{"1": 1, "2": 3}[m[2]]
		rest = fmt.Sprintf("model.%s.model.%d.%s", m[1], conv, m[3])
	}
	return fmt.Sprintf("%s.model.%d.%d.%s", block, n/2, n%2, rest)
}
