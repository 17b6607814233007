package index

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/larkstream/larkstream/gateway/client"
)

// Planning looks at a source before a run is made of it.
type Planning struct {
	Filling // Gateway, Share, Seed and Progress
	// Asked is what the run would ask.
	Asked client.RunSubmission
	// ReadBytes is how many bytes of files are read whole, for digests; of what comes behind them only headers are read. Below 0 = all.
	ReadBytes int64
}

// Plan tells what a run would meet and take.
type Plan struct {
	Items     int   `json:"items"`
	Bytes     int64 `json:"bytes"`
	BytesRead int64 `json:"bytes_read"`
	// Good are the items that a run would take up, and NotRead those of them whose content is not known, because their files were not read.
	Good    int `json:"good"`
	NotRead int `json:"not_read"`
	// Failing counts the items that would fail, by code, with the first of each.
	Failing   map[string]int           `json:"failing"`
	Examples  map[string][]PlanExample `json:"failing_examples"`
	Unchanged int                      `json:"unchanged"`
	Formats   map[string]int           `json:"formats"`
	// NeedFFmpeg counts the good items that the chunker decodes with ffmpeg.
	NeedFFmpeg int `json:"need_ffmpeg"`
	// AudioS is the length of the good items; NoLength counts those whose headers do not tell theirs, and EstimatedLength those whose lengths follow from
	// bit rates.
	AudioS          float64 `json:"audio_s"`
	NoLength        int     `json:"no_length"`
	EstimatedLength int     `json:"estimated_length"`
	// SameBytes counts the good items whose files are, byte for byte, another item's; SameSound counts those with another item's sound and other bytes.
	// SoundKnown counts the items whose sound could be compared.
	SameBytes  int `json:"same_bytes"`
	SameSound  int `json:"same_sound"`
	SoundKnown int `json:"sound_known"`

	Windows      int     `json:"windows"`
	WindowsKnown int     `json:"windows_known"`
	HeardS       float64 `json:"heard_s"`
	Answers      int     `json:"answers"`
	AnswersKnown int     `json:"answers_known"`

	Rates client.Rates `json:"rates"`
	// Estimate is what a run would take; nil where nothing has been measured or counted.
	Estimate *Estimate `json:"estimate,omitempty"`

	BadLines int   `json:"bad_lines"`
	Bad      []Bad `json:"bad,omitempty"`
	Left     Left  `json:"left,omitempty"`
	LeftOut  int   `json:"left_out"`
	// Repeated counts the items with an id that came before. A run leaves them out; all other figures count them.
	Repeated int `json:"repeated"`
}

// PlanExample is an item that would fail.
type PlanExample struct {
	ID      string `json:"id"`
	Message string `json:"message"`
}

// Estimate is work by the rates of late, and its price.
type Estimate struct {
	EncoderS     float64 `json:"encoder_s"`
	DecoderS     float64 `json:"decoder_s"`
	PromptTokens float64 `json:"prompt_tokens"`
	OutputTokens float64 `json:"output_tokens"`
	// Amount is nil without prices.
	Amount   *float64 `json:"amount,omitempty"`
	Currency string   `json:"currency,omitempty"`
	// Without is what would be spent if nothing were known before; its figures less those above are re-used.
	Without *Estimate `json:"without_reuse,omitempty"`
}

const maxPlanExamples = 5

// Run looks at every item of the source. Its memory does not grow with their number.
func (p Planning) Run(ctx context.Context, src Source) (plan Plan, err error) {
	plan = Plan{Failing: make(map[string]int), Examples: make(map[string][]PlanExample), Formats: make(map[string]int)}
	if plan.Rates, err = p.Gateway.Rates(ctx, p.Asked.ResponseSchema); err != nil {
		return plan, err
	}
	same, err := newTwins()
	if err != nil {
		return plan, err
	}
	defer func() { err = errors.Join(err, same.close()) }()
	ids, err := newTwins()
	if err != nil {
		return plan, err
	}
	defer func() { err = errors.Join(err, ids.close()) }()
	batch := make([]client.NewItem, 0, client.MaxPlanItems)
	flush := func() error {
		for len(batch) > 0 {
			read := p.ReadBytes < 0 || plan.BytesRead < p.ReadBytes
			n := len(batch)
			if read && p.ReadBytes >= 0 {
				n = min(n, 8) // so that the limit is not passed by much
			}
			reply, err := p.Gateway.PlanRun(ctx, client.PlanRequest{Asked: p.Asked, Items: batch[:n], Read: read})
			if err != nil {
				return err
			}
			if len(reply.Items) == 0 || len(reply.Items) > n {
				return fmt.Errorf("planning run: the gateway told of %d items of %d", len(reply.Items), n)
			}
			for _, it := range reply.Items {
				if err := plan.take(it, same); err != nil {
					return err
				}
			}
			batch = batch[:copy(batch, batch[len(reply.Items):])]
			if p.Progress != nil {
				p.Progress(plan.Items)
			}
		}
		return nil
	}
	plan.Left, err = src.Read(ctx, func(it client.NewItem) error {
		if !p.taken(it.ID) {
			plan.LeftOut++
			return nil
		}
		if err := ids.add(it.ID, ""); err != nil {
			return err
		}
		if batch = append(batch, it); len(batch) == cap(batch) {
			return flush()
		}
		return nil
	}, func(b Bad) {
		if plan.BadLines++; len(plan.Bad) < maxBad {
			plan.Bad = append(plan.Bad, b)
		}
	})
	if err = errors.Join(err, flush()); err != nil {
		return plan, err
	}
	if plan.SameBytes, plan.SameSound, err = same.count(); err != nil {
		return plan, err
	}
	if plan.Repeated, _, err = ids.count(); err != nil {
		return plan, err
	}
	plan.Estimate = plan.estimate()
	return plan, nil
}

// take counts an item.
func (p *Plan) take(it client.PlannedItem, same *twins) error {
	p.Items++
	p.Bytes += it.Bytes
	p.BytesRead += it.BytesRead
	if it.Code != "" {
		p.Failing[it.Code]++
		if len(p.Examples[it.Code]) < maxPlanExamples {
			p.Examples[it.Code] = append(p.Examples[it.Code], PlanExample{it.ID, it.Message})
		}
		return nil
	}
	if it.Unchanged {
		p.Unchanged++
		return nil
	}
	count := func(n *int, yes bool) {
		if yes {
			*n++
		}
	}
	p.Good++
	p.Formats[it.Format]++
	p.AudioS += it.DurationS
	count(&p.NotRead, it.SHA256 == "")
	count(&p.NeedFFmpeg, it.NeedsFFmpeg)
	count(&p.NoLength, it.DurationS == 0)
	count(&p.EstimatedLength, it.Estimated)
	count(&p.SoundKnown, it.Sound != "")
	p.Windows += it.Windows
	p.WindowsKnown += it.WindowsKnown
	p.HeardS += it.HeardS
	p.Answers += it.Answers
	p.AnswersKnown += it.AnswersKnown
	return same.add(it.SHA256, it.Sound)
}

// estimate multiplies what was counted with the rates. Items whose lengths are not known have as many windows as the others have in the mean.
func (p *Plan) estimate() *Estimate {
	counted := p.Good - p.NoLength
	if p.Windows == 0 || p.Rates.Answers == 0 {
		return nil
	}
	more := float64(p.Good) / float64(counted)
	windows, answers := more*float64(p.Windows), more*float64(p.Answers)
	e := p.cost(windows-float64(p.WindowsKnown), answers-float64(p.AnswersKnown), answers, more*p.HeardS)
	without := p.cost(windows, answers, answers, more*p.HeardS)
	e.Without = &without
	return &e
}

// cost of windows to encode and answers to decode. Tokens and seconds of audio are paid for whether or not the answer was known, as jobs' costs tell them.
func (p *Plan) cost(encode, decode, answers, heardS float64) Estimate {
	r := p.Rates
	e := Estimate{EncoderS: encode * r.EncoderS, DecoderS: decode * r.DecoderS, PromptTokens: answers * r.PromptTokens, OutputTokens: answers * r.OutputTokens}
	if q := r.Prices; q != nil {
		amount := q.AudioSecond*heardS + q.EncoderSecond*e.EncoderS + q.PromptToken*e.PromptTokens + q.OutputToken*e.OutputTokens
		e.Amount, e.Currency = &amount, q.Currency
	}
	return e
}

// twins finds equal items without holding them in memory: digests are written to one file for each first byte, and counted file by file.
type twins struct {
	dir   string
	parts [256]*os.File
	out   [256]*bufio.Writer
}

// twin is the digests of an item's bytes and of its sound, cut to 128 bits each; all zeros where one is not known.
type twin [32]byte

func newTwins() (*twins, error) {
	dir, err := os.MkdirTemp("", "lark-plan-")
	if err != nil {
		return nil, fmt.Errorf("making a folder to find duplicates: %w", err)
	}
	return &twins{dir: dir}, nil
}

func (t *twins) close() error {
	var faults []error
	for _, f := range t.parts {
		if f != nil {
			faults = append(faults, f.Close())
		}
	}
	return errors.Join(append(faults, os.RemoveAll(t.dir))...)
}

// add notes an item. Items lie together by their sound, or by their bytes where the sound is not known: equal bytes have equal sound.
func (t *twins) add(bytes, sound string) error {
	if bytes == "" && sound == "" {
		return nil
	}
	var w twin
	if bytes != "" {
		sum := sha256.Sum256([]byte(bytes))
		copy(w[:16], sum[:])
	}
	sum := sha256.Sum256([]byte(cmp.Or(sound, bytes)))
	copy(w[16:], sum[:])
	part := int(w[16])
	if t.parts[part] == nil {
		f, err := os.Create(filepath.Join(t.dir, strconv.Itoa(part)))
		if err != nil {
			return fmt.Errorf("noting digests: %w", err)
		}
		t.parts[part], t.out[part] = f, bufio.NewWriterSize(f, 4096)
	}
	if _, err := t.out[part].Write(w[:]); err != nil {
		return fmt.Errorf("noting digests: %w", err)
	}
	return nil
}

// count tells how many items have the bytes of an earlier one, and how many others the sound of an earlier one.
func (t *twins) count() (sameBytes, sameSound int, err error) {
	for i, f := range t.parts {
		if f == nil {
			continue
		}
		if err := t.out[i].Flush(); err != nil {
			return 0, 0, fmt.Errorf("noting digests: %w", err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return 0, 0, fmt.Errorf("reading digests: %w", err)
		}
		seen := make(map[[16]byte][][16]byte) // by sound, the different bytes
		in, zero := bufio.NewReader(f), [16]byte{}
		for {
			var w twin
			if _, err := io.ReadFull(in, w[:]); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return 0, 0, fmt.Errorf("reading digests: %w", err)
			}
			bytes, sound := [16]byte(w[:16]), [16]byte(w[16:])
			all := seen[sound]
			switch {
			case bytes != zero && slices.Contains(all, bytes):
				sameBytes++
				continue
			case len(all) > 0:
				sameSound++
			}
			seen[sound] = append(all, bytes)
		}
	}
	return sameBytes, sameSound, nil
}
