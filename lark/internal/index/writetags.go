package index

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/filetags"
)

// What became of an item's file.
const (
	FileShown        = "would_write"
	FileWritten      = "written"
	FileSame         = "same"
	FileUndone       = "undone"
	FileNothing      = "no_tags"
	FileSkipped      = "skipped"
	FileNotSupported = "not_supported"
	FileFailed       = "failed"
)

// FileTags tells what became of a file, or would.
type FileTags struct {
	ID     string          `json:"id,omitempty"`
	File   string          `json:"file"`
	State  string          `json:"state"`
	Reason string          `json:"reason,omitempty"`
	Old    filetags.Values `json:"old,omitempty"`
	New    filetags.Values `json:"new,omitempty"`
}

// WriteTags writes the tags of a run into the files of its items.
type WriteTags struct {
	Gateway *client.Client
	Fields  []filetags.Field
	// OnlyMissing leaves fields alone that have a value in the file.
	OnlyMissing bool
	// List is where what is replaced is kept; nil only shows what would be written.
	List *filetags.List
}

// Run calls told for each item of a run.
func (w WriteTags) Run(ctx context.Context, run client.Run, told func(FileTags) error) error {
	return EachItem(ctx, w.Gateway, run.ID, "", true, func(it client.RunItem) error {
		f := w.item(ctx, it)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return told(f)
	})
}

func (w WriteTags) item(ctx context.Context, it client.RunItem) FileTags {
	out := FileTags{ID: it.ID, File: it.URI}
	path, ok := localPath(it.URI)
	if !ok {
		out.State, out.Reason = FileNotSupported, "only files of this machine can be written"
		return out
	}
	out.File = path
	track, _ := rows(it)
	want := valuesOf(track, w.Fields)
	if len(want) == 0 {
		out.State, out.Reason = FileNothing, "the run has none of these tags for it"
		if it.Code != "" {
			out.Reason = "the item has not succeeded: " + it.Code
		}
		return out
	}
	c, err := filetags.Write(ctx, path, want, it.SHA256, w.OnlyMissing, w.List)
	out.Old, out.New = c.Old, c.New
	switch {
	case err != nil:
		out.State, out.Reason = fault(err)
		out.New = nil
	case c.Written:
		out.State = FileWritten
	case len(c.New) == 0:
		out.State = FileSame
	default:
		out.State = FileShown
	}
	return out
}

// Undo makes files what they were before, the last one first.
func Undo(ctx context.Context, list *filetags.List, told func(FileTags) error) error {
	return list.Backward(func(e filetags.Entry) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		out := FileTags{File: e.Path, State: FileSame}
		done, err := filetags.Undo(ctx, e)
		switch {
		case err != nil:
			out.State, out.Reason = fault(err)
		case done:
			out.State = FileUndone
		}
		return told(out)
	})
}

// fault is the state of a file that was left as it is, and why.
func fault(err error) (state, reason string) {
	switch {
	case errors.Is(err, filetags.ErrNotSupported):
		return FileNotSupported, strings.TrimPrefix(err.Error(), filetags.ErrNotSupported.Error()+": ")
	case errors.Is(err, filetags.ErrChanged):
		return FileSkipped, "the file is not the one that the run has heard, or that was written: it has another SHA-256, or changes now"
	case errors.Is(err, fs.ErrNotExist):
		return FileSkipped, "there is no such file on this machine"
	}
	return FileFailed, err.Error()
}

func localPath(uri string) (string, bool) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "file" {
		return "", false
	}
	return u.Path, true
}

// valuesOf are the values of a track's fields.
func valuesOf(t Track, fields []filetags.Field) filetags.Values {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	all := filetags.Values{
		filetags.Key: {filetags.KeyName(text(t.Key), text(t.Mode))}, filetags.Genre: {text(t.Genre)}, filetags.Metre: {text(t.Metre)},
		filetags.Description: {text(t.Description)}, filetags.Mood: t.Mood, filetags.Instruments: t.Instruments,
	}
	if t.TempoBPM != nil {
		all[filetags.Tempo] = []string{strconv.FormatInt(*t.TempoBPM, 10)}
	}
	want := make(filetags.Values)
	for field, values := range all {
		if values = slices.DeleteFunc(slices.Clone(values), func(s string) bool { return s == "" }); len(values) > 0 && slices.Contains(fields, field) {
			want[field] = values
		}
	}
	return want
}

// ParseFields reads a list of fields.
func ParseFields(names []string) ([]filetags.Field, error) {
	if len(names) == 0 {
		return filetags.Usual(), nil
	}
	var out []filetags.Field
	for _, name := range names {
		f := filetags.Field(strings.TrimSpace(name))
		if !slices.Contains(filetags.Fields(), f) {
			return nil, fmt.Errorf("field %.20q is not one of %s", name, join(filetags.Fields()))
		}
		out = append(out, f)
	}
	return out, nil
}

func join(fields []filetags.Field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = string(f)
	}
	return strings.Join(names, ", ")
}
