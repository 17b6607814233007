package jukebox

import (
	"github.com/larkstream/larkstream/engine/model/jukeboxbundle"
	"github.com/larkstream/larkstream/engine/tensor"
)

// The reference gives the prior the same description of every clip: artist and genre 0, "unknown"; a piece of 62 s, as whole codes
// 2,734,080 samples; the clip at its start. What follows from that is constant.
const (
	timeBins     = jukeboxbundle.TimeBins
	totalSamples = 2734080
	// longest is the length, in samples, that the last absolute bin ends at: 600 s.
	longest = 600 * jukeboxbundle.SampleRate
)

// absoluteBin is the bin of the time since the start of the piece, ⌊128·time/600 s⌋ in whole numbers: it equals what the reference
// computes in float32 for all 8192 positions.
func absoluteBin(position int) int { return timeBins * hop * position / longest }

// relativeBin is the bin of the time as a share of the whole piece.
func relativeBin(position int) int { return timeBins * hop * position / totalSamples }

// condition is what is added to the embeddings of the codes.
type condition struct {
	start     []float32   // stands for the code before the first
	absolutes [][]float32 // total length plus absolute bin
	relatives [][]float32
}

func loadCondition(r *reader, c Config) condition {
	rows := func(name string, bins, count int) [][]float32 {
		t := r.raw("y_emb."+name+".emb.weight", bins, c.Width)
		list := make([][]float32, count)
		for i := range list {
			list[i] = make([]float32, c.Width)
			if r.err == nil {
				t.row(list[i], i)
			}
		}
		return list
	}
	start := rows("bow_genre_emb", c.Genres, 1)[0]
	tensor.Add(start, rows("artist_emb", c.Artists, 1)[0])
	total := rows("total_length_emb", timeBins, 1)[0] // 62 s fall into the first bin of 60 s to 600 s
	absolutes := rows("absolute_pos_emb", timeBins, min(absoluteBin(c.Context-1), timeBins-1)+1)
	for _, row := range absolutes {
		tensor.Add(row, total)
	}
	return condition{start, absolutes, rows("relative_pos_emb", timeBins, min(relativeBin(c.Context-1), timeBins-1)+1)}
}

// addTo adds the conditioning of a position, (total + absolute) + relative, to row.
func (c condition) addTo(row []float32, position int) {
	absolute := c.absolutes[min(absoluteBin(position), len(c.absolutes)-1)]
	relative := c.relatives[min(relativeBin(position), len(c.relatives)-1)]
	for j := range row {
		row[j] += absolute[j] + relative[j]
	}
}
