// Package jukebox is the encoder of LLark: Jukebox's level-2 VQ-VAE encoder turns 23.777 s of audio into codes, and
// the first layers of Jukebox-5B's prior turn the codes into activations, of which every 34 rows are averaged to one frame. It follows
// openai/jukebox at commit 08efbbc as spotify-research/llark at commit a933b94 uses it, in float32 or with products in bfloat16.
package jukebox

import "github.com/larkstream/larkstream/engine/model/jukeboxbundle"

const (
	// hop is how many samples one code stands for.
	hop = jukeboxbundle.Hop
	// frameRows is how many rows of activations make a frame.
	frameRows = jukeboxbundle.PoolFrames
	// MinSamples is the length below which there is not a single frame.
	MinSamples = hop * frameRows
)

// Config is the shape of an encoder, as a bundle says it.
type Config struct{ jukeboxbundle.Config }

// ConfigOf reads and checks the configuration of a bundle's encoder.
func ConfigOf(values map[string]any) (Config, error) {
	c, err := jukeboxbundle.Parse(values)
	return Config{c}, err
}

// block is how many positions a block of the attention has.
func (c Config) block() int { return c.Context / c.Blocks }

// head is the width of a head.
func (c Config) head() int { return c.State / c.Heads }

// WindowSamples is how many samples the encoder hears.
func (c Config) WindowSamples() int { return c.Context * hop }

// Frames is how many frames a clip of that many samples gives, 0 when it is too short.
func (c Config) Frames(samples int) int { return min(samples/hop, c.Context) / frameRows }
