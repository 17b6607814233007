// Package feed publishes the jobs of a file to Kafka: one JSON object per line, no gateway in between.
package feed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/lark/internal/ask"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// Line is one job of the file.
type Line struct {
	// ID tells apart jobs that are otherwise the same; optional.
	ID string `json:"id"`
	// Audio is a file, relative to the jobs file; AudioRef the hex SHA-256 of audio that is stored already. One of them.
	Audio    string `json:"audio"`
	AudioRef string `json:"audio_ref"`
	// Questions are asked of every window. With a response_schema there may be none: it has one of its own.
	Questions []string `json:"questions"`
	// Windows is auto (the default), all, or spans as lark ask takes them.
	Windows string `json:"windows"`
	// ResponseSchema is the form of the answers: empty = free text, tags = a JSON object of tags.
	ResponseSchema string `json:"response_schema"`
	// MaxTokens, Temperature, TopP and Seed are the decode settings; zero values mean the model's own.
	MaxTokens   uint32  `json:"max_tokens"`
	Temperature float32 `json:"temperature"`
	TopP        float32 `json:"top_p"`
	Seed        uint64  `json:"seed"`
}

// parseLine reads a line strictly: an unknown field is more likely a mistake than a wish.
func parseLine(raw []byte) (Line, error) {
	var l Line
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return Line{}, fmt.Errorf("reading job: %w", err)
	}
	if dec.More() {
		return Line{}, errors.New("reading job: more than one JSON value on the line")
	}
	if (l.Audio == "") == (l.AudioRef == "") {
		return Line{}, errors.New("reading job: exactly one of audio and audio_ref is needed")
	}
	if len(l.Questions) == 0 && l.ResponseSchema == event.SchemaTags {
		l.Questions = []string{tags.DefaultQuestion}
	}
	if len(l.Questions) == 0 {
		return Line{}, errors.New("reading job: questions are needed")
	}
	return l, nil
}

// job makes the record of a line whose audio is known. Its id follows from its content, so that the same line always
// makes the same job.
func (l Line) job(audio *eventpb.Audio, now time.Time) (*eventpb.Job, error) {
	plan, spans, err := ask.ParseWindows(l.Windows)
	if err != nil {
		return nil, err
	}
	job := &eventpb.Job{
		Audio: audio, Plan: planMode(plan), CreatedUnixMs: now.UnixMilli(), ResponseSchema: l.ResponseSchema,
		Decode: &eventpb.Decode{MaxTokens: l.MaxTokens, Temperature: l.Temperature, TopP: l.TopP, Seed: l.Seed},
	}
	for _, s := range spans {
		job.Spans = append(job.Spans, &eventpb.Span{StartS: s.StartS, EndS: s.EndS})
	}
	for i, text := range l.Questions {
		job.Questions = append(job.Questions, &eventpb.Question{Index: uint32(i), Text: strings.TrimSpace(text)})
	}
	settings := fmt.Sprintf("%d %g %g %d", l.MaxTokens, l.Temperature, l.TopP, l.Seed)
	if l.ResponseSchema != "" { // the ids of jobs without one stay as they were
		settings += " " + l.ResponseSchema
	}
	job.JobId = event.DerivedJobID(append([]string{l.ID, audio.GetSha256(), l.Windows, settings}, l.Questions...)...)
	return job, event.Validate(job)
}

func planMode(plan string) eventpb.PlanMode {
	return eventpb.PlanMode(eventpb.PlanMode_value["PLAN_MODE_"+strings.ToUpper(plan)])
}

// audio brings a line's audio into the object store, or finds it there.
func (f *feeder) audio(ctx context.Context, l Line) (*eventpb.Audio, error) {
	if l.AudioRef != "" {
		size, err := f.blobs.Size(ctx, event.AudioKey(l.AudioRef))
		if err != nil {
			return nil, fmt.Errorf("looking for audio_ref: %w", err)
		}
		return &eventpb.Audio{Sha256: l.AudioRef, BlobKey: event.AudioKey(l.AudioRef), SizeBytes: size}, nil
	}
	path := l.Audio
	if !filepath.IsAbs(path) {
		path = filepath.Join(f.dir, path)
	}
	return storeFile(ctx, f.blobs, path, f.maxAudioBytes)
}

// storeFile stores a file under the SHA-256 of its bytes, unless it is there already.
func storeFile(ctx context.Context, blobs *blob.Store, path string, limit int64) (*eventpb.Audio, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening audio: %w", err)
	}
	defer file.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, io.LimitReader(file, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading audio: %w", err)
	case size == 0:
		return nil, fmt.Errorf("reading audio: %s is empty", path)
	case size > limit:
		return nil, fmt.Errorf("reading audio: %s is larger than %d bytes", path, limit)
	}
	sum := event.HexSum(hash)
	audio := &eventpb.Audio{Sha256: sum, BlobKey: event.AudioKey(sum), SizeBytes: size, Name: filepath.Base(path)}
	have, err := blobs.Exists(ctx, audio.GetBlobKey())
	if err != nil || have {
		return audio, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("reading audio: %w", err)
	}
	if _, err := blobs.Put(ctx, audio.GetBlobKey(), file, limit); err != nil {
		return nil, err
	}
	return audio, nil
}
