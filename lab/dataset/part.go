package dataset

import (
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"regexp"
	"strconv"
)

// Part is the share of a step's clips that one of several runs does, each perhaps on a machine of its own: of N parts, part I has every Nth clip of each collection. Its rows
// go to STEP.I-of-N.jsonl; a run without a part takes over what parts have done, does what is missing, and removes their files.
type Part struct {
	// I is from 1 to N. The zero value is no part.
	I, N int
}

// ParsePart reads I/N.
func ParsePart(text string) (p Part, err error) {
	if text == "" {
		return p, nil
	}
	if n, err := fmt.Sscanf(text, "%d/%d", &p.I, &p.N); err != nil || n != 2 || p.I < 1 || p.I > p.N || text != fmt.Sprintf("%d/%d", p.I, p.N) {
		return Part{}, fmt.Errorf("%.40q is no part: write I/N, such as 2/8", text)
	}
	return p, nil
}

func (p Part) suffix() string {
	if p.N == 0 {
		return ""
	}
	return fmt.Sprintf(".%d-of-%d", p.I, p.N)
}

// has tells whether clip number n, from 0, is of the part.
func (p Part) has(n int) bool { return p.N == 0 || n%p.N == p.I-1 }

var partPattern = regexp.MustCompile(`\.([0-9]+)-of-([0-9]+)\.jsonl$`)

// parts are files of one step that other runs have left: clip number n has its row in file n % len(paths), if it has one.
type parts struct{ paths, settings []string }

// partsOf finds the parts of a step.
func (s *Set) partsOf(name, step string) (p parts, err error) {
	found, err := filepath.Glob(s.path(name, step+".*-of-*.jsonl"))
	if err != nil {
		return p, err
	}
	for _, f := range found {
		m := partPattern.FindStringSubmatch(f)
		if m == nil {
			return p, fmt.Errorf("%s is left of a retry that was stopped: run that part again", f)
		}
		n, err := strconv.Atoi(m[2])
		if err != nil || n < 1 || p.paths != nil && len(p.paths) != n {
			return p, fmt.Errorf("%s is of another number of parts than the others: finish one division before another is begun, or remove its files", f)
		}
		if p.paths != nil {
			continue
		}
		for i := range n {
			base := s.path(name, step+Part{i + 1, n}.suffix())
			p.paths, p.settings = append(p.paths, base+".jsonl"), append(p.settings, base+".settings.json")
		}
	}
	return p, nil
}

// pullParts gives the row that other runs have made of clip number n, nil where there is none. It must be asked about every clip in order. A torn last line, of a run that was killed, is none.
func pullParts[R named](p parts) (row func(n int, clip string) (*R, error), stop func()) {
	var nexts []func() (R, error, bool)
	var stops []func()
	for _, path := range p.paths {
		next, stop := iter.Pull2(rows[R](path))
		nexts, stops = append(nexts, next), append(stops, stop)
	}
	return func(n int, clip string) (*R, error) {
			if len(nexts) == 0 {
				return nil, nil
			}
			r, err := follow(nexts[n%len(nexts)], clip)
			if errors.Is(err, errTorn) {
				return nil, nil
			}
			return r, err
		}, func() {
			for _, stop := range stops {
				stop()
			}
		}
}

// spent is what all rows of the set have cost; for a part, its own rows and its share of those in no part.
func (s *Set) spent(part Part) (sum float64, err error) {
	for _, name := range s.Names {
		steps, err := s.pairSteps(name)
		if err != nil {
			return 0, err
		}
		for _, step := range steps {
			whole, n, err := s.costs(name, step, Part{1, 1}, 0)
			if err != nil {
				return 0, err
			}
			sum += whole / float64(max(1, part.N))
			all, err := s.partsOf(name, step)
			if err != nil {
				return 0, err
			}
			for i := range all.paths {
				p := Part{i + 1, len(all.paths)}
				if part != (Part{}) && part != p {
					continue
				}
				cost, _, err := s.costs(name, step+p.suffix(), p, n)
				if err != nil {
					return 0, err
				}
				sum += cost
			}
		}
	}
	return sum, nil
}

// costs is what the rows of a part have cost that are of clip number from or a later one, and how many rows there are.
func (s *Set) costs(name, file string, part Part, from int) (cost float64, n int, err error) {
	for r, err := range rows[pairRow](s.path(name, file+".jsonl")) {
		if errors.Is(err, errTorn) {
			break // its row is made again
		}
		if err != nil {
			return 0, 0, err
		}
		if n*part.N+part.I-1 >= from {
			cost += r.Cost
		}
		n++
	}
	return cost, n, nil
}
