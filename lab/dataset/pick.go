package dataset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"path"
	"regexp"
	"strings"
)

// ThinConfig says when pairs count as too much alike.
type ThinConfig struct {
	// Within is the share of words (Jaccard's index) from which two pairs of one clip are alike; 0 = they may be.
	Within float64
	// Same is how many pairs of the export may have the same words, numbers aside; 0 = any number. It is counted in a table of fixed size, so that a pair in
	// a few thousands may be left out too early.
	Same int
}

func (t ThinConfig) check() error {
	if t.Within < 0 || t.Within > 1 || t.Same < 0 {
		return errors.New("pairs are alike from a share of words from 0 to 1, and the most of the same words are 0 or more")
	}
	return nil
}

// Balance are shares of the export, 0 to 1, by family and by collection. A name that is missing keeps all its pairs. Pairs are left out, never
// repeated.
type Balance struct {
	Families map[string]float64 `json:"families,omitempty"`
	Datasets map[string]float64 `json:"datasets,omitempty"`
}

func (b Balance) check() error {
	for _, shares := range []map[string]float64{b.Families, b.Datasets} {
		sum := 0.0
		for name, v := range shares {
			if sum += v; v <= 0 || v > 1 {
				return fmt.Errorf("the share of %s is %g, want above 0 to 1", name, v)
			}
		}
		if sum > 1+1e-9 {
			return fmt.Errorf("the shares add up to %g, want at most 1", sum)
		}
	}
	return nil
}

// keep are the shares of pairs to keep, by name, so that the counts become as the shares say: the total is the largest that no name falls short of.
func keep(counts map[string]float64, shares map[string]float64) map[string]float64 {
	total := -1.0
	for name, share := range shares {
		if n := counts[name]; n > 0 && (total < 0 || n/share < total) {
			total = n / share
		}
	}
	out := map[string]float64{}
	for name, n := range counts {
		out[name] = 1
		if share, ok := shares[name]; ok && n > 0 {
			out[name] = min(1, share*total/n)
		}
	}
	return out
}

// ratios are the shares of pairs to keep, by collection and family.
type ratios struct{ families, datasets map[string]float64 }

// ratios counts what would go out without balance. Families are balanced first, then collections with what is left.
func (s *Set) ratios(cfg ExportConfig) (ratios, error) {
	out := ratios{map[string]float64{}, map[string]float64{}}
	if len(cfg.Balance.Families)+len(cfg.Balance.Datasets) == 0 {
		return out, nil
	}
	counts, families := map[[2]string]float64{}, map[string]float64{}
	pick := &picker{cfg: cfg, thin: newThinner(cfg.Thin), left: map[string]int{}}
	err := s.samples(pick, map[string]int{}, func(x sample) error {
		for _, p := range x.pairs {
			counts[[2]string{x.clip.Dataset, p.Family}]++
			families[p.Family]++
		}
		return nil
	})
	out.families = keep(families, cfg.Balance.Families)
	datasets := map[string]float64{}
	for at, n := range counts {
		datasets[at[0]] += n * out.families[at[1]]
	}
	out.datasets = keep(datasets, cfg.Balance.Datasets)
	return out, err
}

// picker decides what goes out.
type picker struct {
	cfg    ExportConfig
	ratios ratios
	thin   *thinner
	left   map[string]int
}

// clip is why a clip stays behind; else its pairs are those that go out.
func (p *picker) clip(x *sample) (left string) {
	switch {
	case x.clip.Missing != "":
		return "without audio"
	case !p.licensed(x.clip.Licence):
		return "with a licence that was not asked for"
	case x.split == "":
		return "in no split"
	case x.frames.State != stateDone:
		return "without frames"
	}
	kept := x.pairs[:0]
	p.thin.begin()
	for _, pair := range x.pairs {
		switch reason := p.thin.reason(pair); {
		case reason != "":
			p.left[reason]++
		case !p.balanced(x.clip, pair):
			p.left["for the balance"]++
		default:
			kept = append(kept, pair)
		}
	}
	if x.pairs = kept; len(kept) == 0 {
		return "without pairs"
	}
	return ""
}

func (p *picker) licensed(licence string) bool {
	for _, pattern := range p.cfg.Licences {
		if ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(strings.ReplaceAll(licence, "/", " "))); err == nil && ok {
			return true
		}
	}
	return len(p.cfg.Licences) == 0
}

func (p *picker) balanced(c Clip, pair exportPair) bool {
	ratio := 1.0
	if r, ok := p.ratios.families[pair.Family]; ok {
		ratio *= r
	}
	if r, ok := p.ratios.datasets[c.Dataset]; ok {
		ratio *= r
	}
	return ratio >= 1 || share(p.cfg.Seed, c.ID, pair.Family, pair.Question, pair.Answer) < ratio
}

// thinner finds pairs that are too much alike.
type thinner struct {
	cfg    ThinConfig
	inClip []map[string]bool
	seen   []uint16
}

// tableSize of the counts of words: 8 MiB (a count-min sketch of one row per hash, Cormode and Muthukrishnan, 2005).
const (
	tableRows = 2
	tableSize = 1 << 21
)

func newThinner(cfg ThinConfig) *thinner {
	t := &thinner{cfg: cfg}
	if cfg.Same > 0 {
		t.seen = make([]uint16, tableRows*tableSize)
	}
	return t
}

func (t *thinner) begin() { t.inClip = t.inClip[:0] }

var thinWords = regexp.MustCompile(`[\p{L}\p{N}#]+`)

// reason is why a pair is left out; "" = it is not, and counts from now on.
func (t *thinner) reason(p exportPair) string {
	words := map[string]bool{}
	list := thinWords.FindAllString(strings.ToLower(p.Question+" "+p.Answer), -1)
	for _, w := range list {
		words[w] = true
	}
	if t.cfg.Within > 0 {
		for _, other := range t.inClip {
			if jaccard(words, other) >= t.cfg.Within {
				return "nearly as another pair of the clip"
			}
		}
	}
	if t.cfg.Same > 0 && !t.count(p) {
		return "with words that many pairs have"
	}
	t.inClip = append(t.inClip, words)
	return ""
}

var digits = regexp.MustCompile(`[0-9]+(\.[0-9]+)?`)

// count counts a pair's words and tells whether there may be one more.
func (t *thinner) count(p exportPair) bool {
	h := fnv.New128a()
	_, _ = h.Write([]byte(digits.ReplaceAllString(strings.ToLower(p.Question+"|"+p.Answer), "0"))) // never fails
	sum := h.Sum(nil)
	least, at := uint16(1<<16-1), [tableRows]int{}
	for r := range tableRows {
		at[r] = r*tableSize + int(binary.LittleEndian.Uint64(sum[8*r:])%tableSize)
		least = min(least, t.seen[at[r]])
	}
	if int(least) >= t.cfg.Same {
		return false
	}
	for r := range tableRows {
		if t.seen[at[r]] < 1<<16-1 {
			t.seen[at[r]]++
		}
	}
	return true
}

func jaccard(a, b map[string]bool) float64 {
	both := 0
	for w := range a {
		if b[w] {
			both++
		}
	}
	return float64(both) / float64(max(1, len(a)+len(b)-both))
}
