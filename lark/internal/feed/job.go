// Package feed publishes the jobs of a file to Kafka: one JSON object per line, no gateway in between.
package feed

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
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
	// Plan is auto (the default), all, or explicit with Spans, as lark ask takes them. Windows is either of them, by its older name.
	Plan    string `json:"plan"`
	Spans   string `json:"spans"`
	Windows string `json:"windows"`
	// The lane is bulk unless the line says otherwise.
	event.Options
	event.Decoding
}

// parseLine reads a line strictly: an unknown field is more likely a mistake than a wish.
func parseLine(raw []byte) (Line, error) {
	var l Line
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return Line{}, fmt.Errorf("reading job: %w", plainly(err))
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
	if l.Plan != "" || l.Spans != "" {
		if l.Windows != "" {
			return Line{}, errors.New("reading job: windows is the older name of plan and spans: leave it out beside them")
		}
		var err error
		if l.Windows, err = ask.Heard(l.Plan, l.Spans); err != nil {
			return Line{}, fmt.Errorf("reading job: %w", err)
		}
	}
	l.Lane = cmp.Or(l.Lane, event.LaneBulk)
	return l, nil
}

// plainly says in the words of the jobs file, and not of Go, that a field has a value of a wrong kind.
func plainly(err error) error {
	var kind *json.UnmarshalTypeError
	if !errors.As(err, &kind) {
		return err
	}
	if kind.Field == "" {
		return fmt.Errorf("the line is not a JSON object but a JSON %s", kind.Value)
	}
	want := "a string"
	switch kind.Type.Kind() { //nolint:exhaustive // a line has no other kinds
	case reflect.Slice:
		want = "a list of strings"
	case reflect.Uint32, reflect.Uint64:
		want = "a whole number that is not negative"
	case reflect.Float32:
		want = "a number"
	case reflect.Bool:
		want = "true or false"
	}
	return fmt.Errorf("%s must be %s, not the JSON %s", kind.Field[strings.LastIndexByte(kind.Field, '.')+1:], want, kind.Value)
}

// job makes the job of a line whose audio is known. Its id follows from its content, the model that must answer it and the attempt (from 0),
// so that the same line always makes the same job.
func (l Line) job(audio event.AudioFile, modelDigest string, attempt int, now time.Time) (*eventpb.Job, error) {
	plan, spans, err := ask.ParseWindows(l.Windows)
	if err != nil {
		return nil, err
	}
	settings, err := l.settings(modelDigest, attempt)
	if err != nil {
		return nil, err
	}
	spec := event.JobSpec{
		ID:    event.DerivedJobID(append([]string{l.ID, audio.SHA256, l.Windows, settings}, l.Questions...)...),
		Audio: audio, Plan: plan, Spans: spans, Decode: l.Decoding, Options: l.Options, ModelDigest: modelDigest, Created: now,
	}
	for _, text := range l.Questions {
		spec.Questions = append(spec.Questions, strings.TrimSpace(text))
	}
	job := event.NewJob(spec)
	return job, event.Validate(job)
}

// settings are the decode settings, the options, the model and the attempt as part of a job's id: what is not used leaves no trace, so that
// the ids of jobs from before it was known stay as they were.
func (l Line) settings(modelDigest string, attempt int) (string, error) {
	temperature := float32(0)
	if l.Temperature != nil {
		temperature = *l.Temperature
	}
	settings := fmt.Sprintf("%d %g %g %d", l.MaxTokens, temperature, l.TopP, l.Seed)
	if l.Temperature != nil && temperature == 0 {
		settings += " greedy"
	}
	if l.TopK > 0 || l.RepetitionPenalty > 0 {
		settings += fmt.Sprintf(" top_k:%d repetition_penalty:%g", l.TopK, l.RepetitionPenalty)
	}
	if modelDigest != "" {
		settings += " model:" + modelDigest
	}
	if attempt > 0 {
		settings += fmt.Sprintf(" attempt:%d", attempt)
	}
	others := l.Options
	others.Lane = "" // when a job is done does not change what it is
	if others.ResponseSchema != "" {
		settings += " " + others.ResponseSchema
		others.ResponseSchema = ""
	}
	if others == (event.Options{}) {
		return settings, nil
	}
	raw, err := json.Marshal(others)
	return settings + " " + string(raw), err
}

// audio brings a line's audio into the object store, or finds it there.
func (f *feeder) audio(ctx context.Context, l Line) (event.AudioFile, error) {
	if l.AudioRef != "" {
		size, err := f.blobs.Touch(ctx, event.AudioKey(l.AudioRef)) // the gateway may know of the job later than its next sweep
		if err != nil {
			return event.AudioFile{}, fmt.Errorf("looking for audio_ref: %w", err)
		}
		return event.AudioFile{SHA256: l.AudioRef, Bytes: size}, nil
	}
	if ask.IsURL(l.Audio) {
		return event.AudioFile{}, errors.New("audio must be a file, not a URL: download it first, or let lark ask or the gateway fetch it")
	}
	path := l.Audio
	if !filepath.IsAbs(path) {
		path = filepath.Join(f.dir, path)
	}
	return storeFile(ctx, f.blobs, path, f.maxAudioBytes)
}

// storeFile stores a file under the SHA-256 of its bytes, unless it is there already.
func storeFile(ctx context.Context, blobs *blob.Store, path string, limit int64) (event.AudioFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return event.AudioFile{}, fmt.Errorf("opening audio: %w", err)
	}
	defer file.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, io.LimitReader(file, limit+1))
	switch {
	case err != nil:
		return event.AudioFile{}, fmt.Errorf("reading audio: %w", err)
	case size == 0:
		return event.AudioFile{}, fmt.Errorf("reading audio: %s is empty", path)
	case size > limit:
		return event.AudioFile{}, fmt.Errorf("reading audio: %s is larger than %d bytes", path, limit)
	}
	sum := event.HexSum(hash)
	audio, key := event.AudioFile{SHA256: sum, Name: filepath.Base(path), Bytes: size}, event.AudioKey(sum)
	if _, err := blobs.Touch(ctx, key); !errors.Is(err, blob.ErrNotFound) {
		return audio, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return event.AudioFile{}, fmt.Errorf("reading audio: %w", err)
	}
	if _, err := blobs.Put(ctx, key, file, limit); err != nil {
		return event.AudioFile{}, err
	}
	return audio, nil
}
