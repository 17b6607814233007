package runs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/source"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// found is what a look at an item's audio has shown: a digest, or why there is none.
type found struct {
	sha256 string
	bytes  int64
	err    error
}

// fill starts up to room pending items, as many as the limits of the run's tenant allow, and returns how many items are no longer pending. The run says
// why it waits, if it does.
func (c *Controller) fill(ctx context.Context, run store.Run, room int) (int, error) {
	room = min(room, c.cfg.Batch)
	if room <= 0 || run.Counts[store.ItemPending] == 0 {
		return 0, nil
	}
	tenant, err := c.deps.Store.Tenant(ctx, run.Tenant)
	if err != nil {
		return 0, err
	}
	begun, waits, err := c.startSome(ctx, run, tenant, room)
	if err != nil {
		return 0, err
	}
	note := ""
	if waits != nil {
		note = fmt.Sprintf("waiting: %v", waits)
	}
	if note != run.Reason {
		err = c.deps.Store.NoteRun(ctx, run.ID, note)
	}
	return begun, err
}

// startSome starts items and returns how many are no longer pending, and why the others are if something is in their way.
func (c *Controller) startSome(ctx context.Context, run store.Run, tenant store.Tenant, room int) (begun int, waits, err error) {
	if store.Counted(tenant.Limits) {
		limits := tenant.Limits
		limits.UploadBytesPerDay = 0
		used, err := c.deps.Store.Usage(ctx, tenant.Name, c.now())
		if err != nil {
			return 0, nil, err
		}
		if held := used.Check(limits, 1, 0); held != nil {
			return 0, held, nil // no file is read for what cannot be started
		}
		room = min(room, used.Room(limits))
	}
	items, err := c.deps.Store.RunItems(ctx, run.ID, store.ItemPending, 0, room)
	if err != nil {
		return 0, nil, err
	}
	looks := c.look(ctx, items)
	var starts []store.ItemStart
	var ends []store.ItemEnd
	for i, it := range items {
		switch code := codeOf(looks[i].err); {
		case looks[i].err == nil:
			start, end, err := c.begin(ctx, run, tenant, it, looks[i])
			if err != nil {
				return 0, nil, err
			}
			if end != nil {
				ends = append(ends, *end)
			} else {
				starts = append(starts, start)
			}
		case code != "":
			ends = append(ends, store.ItemEnd{N: it.N, State: store.ItemFailed, Code: code, Message: looks[i].err.Error()})
		default:
			waits = looks[i].err
		}
	}
	if ctx.Err() != nil {
		return 0, nil, ctx.Err()
	}
	if len(starts)+len(ends) == 0 {
		return 0, waits, nil
	}
	done, err := c.deps.Store.StartItems(ctx, run.ID, starts, ends, tenant.Limits)
	if err != nil {
		return 0, nil, err
	}
	if done.Held != nil {
		waits = done.Held
	}
	c.deps.Wake()
	return done.Jobs + len(ends), waits, nil
}

// codeOf is the code of a fault of an item's audio that stays, "" for a fault that may pass.
func codeOf(err error) string {
	if errors.Is(err, errTooLarge) {
		return event.CodeAudioTooLarge
	}
	return source.Code(err)
}

// look hashes the audio of the items, several at once. An item whose digest the manifest tells is not read: the chunker finds out if it is another.
func (c *Controller) look(ctx context.Context, items []store.Item) []found {
	out := make([]found, len(items))
	var group errgroup.Group
	group.SetLimit(c.cfg.Readers)
	for i, it := range items {
		group.Go(func() error {
			out[i] = c.hash(ctx, it)
			return nil
		})
	}
	_ = group.Wait() // each tells for itself
	return out
}

func (c *Controller) hash(ctx context.Context, it store.Item) found {
	o, err := c.deps.Sources.Open(ctx, it.URI)
	if err != nil {
		return found{err: err}
	}
	defer func() { _ = o.Close() }() // only read
	if it.SHA256 != "" && it.Attempt == 0 {
		return found{sha256: it.SHA256, bytes: o.Bytes}
	}
	if o.Bytes > c.cfg.MaxBytes {
		return found{err: errTooLarge}
	}
	sum := sha256.New()
	n, err := copyBounded(ctx, sum, o, c.cfg.MaxBytes)
	if err != nil {
		if !errors.Is(err, errTooLarge) {
			err = fmt.Errorf("%w: %w", source.ErrUnavailable, err)
		}
		return found{err: err}
	}
	return found{sha256: event.HexSum(sum), bytes: n}
}

// begin makes the job of an item, or the item's end if an earlier run has it and it has not changed.
func (c *Controller) begin(ctx context.Context, run store.Run, tenant store.Tenant, it store.Item, f found) (store.ItemStart, *store.ItemEnd, error) {
	if run.Spec.ChangedSince != "" {
		same, err := c.deps.Store.UnchangedSince(ctx, run.Spec.ChangedSince, it.URI, f.sha256)
		if err != nil {
			return store.ItemStart{}, nil, err
		}
		if same {
			return store.ItemStart{}, &store.ItemEnd{N: it.N, State: store.ItemSkipped, Code: "unchanged", SHA256: f.sha256, Bytes: f.bytes}, nil
		}
	}
	if f.bytes == 0 {
		return store.ItemStart{}, &store.ItemEnd{N: it.N, State: store.ItemFailed, Code: event.CodeAudioEmpty, Message: "the file is empty", SHA256: f.sha256}, nil
	}
	options := run.Spec.Options
	options.Lane = event.LaneBulk
	id := c.deps.NewID()
	ctx, span := telemetry.Tracer().Start(telemetry.JobTrace(ctx, id), telemetry.SpanIndex, trace.WithAttributes(telemetry.AttrJobID.String(id), telemetry.AttrTrackSHA256.String(f.sha256)))
	defer span.End()
	job := store.NewJob(run.Tenant, event.JobSpec{
		ID: id, Audio: event.AudioFile{SHA256: f.sha256, Name: nameOf(it), Bytes: f.bytes, URI: it.URI},
		Questions: run.Spec.Questions, Plan: run.Spec.Plan, Decode: run.Spec.Decode, Options: options, ModelDigest: run.Spec.ModelDigest,
		Created: c.now().UTC().Truncate(time.Millisecond),
	}, telemetry.TraceID(ctx))
	job.Isolated = tenant.Isolated
	return store.ItemStart{N: it.N, SHA256: f.sha256, Bytes: f.bytes, Job: job}, nil, nil
}

// nameOf is what people see of the job: the title, or the last part of the place.
func nameOf(it store.Item) string {
	name := it.Fields["title"]
	if name == "" {
		name = path.Base(it.URI)
	}
	return strings.ToValidUTF8(name[:min(len(name), event.MaxNameBytes)], "")
}
