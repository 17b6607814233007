package handle

import (
	"context"
	"fmt"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/stage"
)

// Limits bound what one job may cost the stages behind this one.
type Limits struct {
	// Answers is how many answers a job may ask for: its windows times its questions.
	Answers int
	// Expansion is how many bytes of windows a job may have for each byte of its file, beyond FreeBytes. Windows of equal content count once.
	Expansion int64
	// FreeBytes of windows are allowed to every job, however small its file.
	FreeBytes int64
}

// checkAnswers refuses a plan that asks for more answers than a job may have.
func (l Limits) checkAnswers(windows, questions int) error {
	if windows*questions <= l.Answers {
		return nil
	}
	return stage.Permanent(event.CodePlanTooLarge, fmt.Errorf("%d windows of %d questions are %d answers, the limit is %d: ask fewer questions at once, "+
		"or about fewer windows with plan explicit", windows, questions, windows*questions, l.Answers))
}

// windowBytes adds up the windows of one job.
type windowBytes struct {
	left, file int64
	seen       map[string]bool
}

// windowBytes of a job may be as many as its file allows.
func (h *Handler) windowBytes(ctx context.Context, src *original) (*windowBytes, error) {
	size, err := src.size(ctx)
	if err != nil {
		return nil, err
	}
	return &windowBytes{left: h.Limits.FreeBytes + h.Limits.Expansion*size, file: size, seen: make(map[string]bool)}, nil
}

// take counts a window before it is stored.
func (b *windowBytes) take(hash string, n int) error {
	if b.seen[hash] {
		return nil
	}
	b.seen[hash] = true
	if b.left -= int64(n); b.left < 0 {
		return stage.Permanent(event.CodeAudioExpands, fmt.Errorf("the windows of the plan take more room than a file of %d bytes may take: "+
			"choose fewer windows with plan explicit, or send the track less compressed", b.file))
	}
	return nil
}
