package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/fetch"
)

// Faults of a source, told apart by errors.Is. Unavailable may pass; all others stay until somebody changes the source.
var (
	// ErrNotAllowed: the URI lies outside of every place that the operator has allowed.
	ErrNotAllowed = errors.New("not in a place that audio may be read from")
	// ErrMissing: there is nothing under the URI.
	ErrMissing = errors.New("there is no such file")
	// ErrDenied: the file may not be read.
	ErrDenied = errors.New("permission denied")
	// ErrNotFile: there is something else than a file, such as a folder or a socket.
	ErrNotFile = errors.New("it is not a file")
	// ErrUnreadable: the file cannot be opened for another reason, such as a loop of links.
	ErrUnreadable = errors.New("the file cannot be read")
	// ErrChanged: the file is not what it was when it was opened, or when the job was made.
	ErrChanged = errors.New("the file has changed")
	// ErrUnavailable: the place itself does not answer.
	ErrUnavailable = errors.New("the place of the audio does not answer")
	// ErrHost is an ErrUnavailable of a web host: one of many, so that others may do well meanwhile.
	ErrHost = fmt.Errorf("web: %w", ErrUnavailable)
)

// codes are the codes of outcomes for faults that stay.
var codes = map[error]string{
	ErrNotAllowed: event.CodeSourceNotAllowed, ErrMissing: event.CodeSourceMissing, ErrDenied: event.CodeSourceDenied,
	ErrNotFile: event.CodeSourceNotFile, ErrUnreadable: event.CodeSourceUnreadable, ErrChanged: event.CodeSourceChanged,
}

// Code is the code of an outcome for a fault of the source that stays; "" for a fault that may pass.
func Code(err error) string {
	for kind, code := range codes {
		if errors.Is(err, kind) {
			return code
		}
	}
	return ""
}

// Object is audio that is being read; the caller closes it.
type Object struct {
	io.ReadCloser
	// ReaderAt reads parts of it, independently of what Read has read.
	io.ReaderAt
	// Bytes is the size that the place tells.
	Bytes int64
}

// Entry is a file that Walk has found.
type Entry struct {
	URI      string
	Bytes    int64
	Modified time.Time
}

// place is a folder, a bucket or a web host.
type place interface {
	// holds tells whether a URI lies in the place.
	holds(u address) bool
	open(ctx context.Context, u address) (*Object, error)
	// walk calls fn for every file below the address, in the order of names where the place has one.
	walk(ctx context.Context, u address, fn func(Entry) error) error
}

// address is a URI taken apart: a cleaned absolute path of a file, a bucket and the name of an object, or a host, the decoded path and the whole URL.
type address struct {
	scheme, bucket, path string
	url                  *url.URL
}

func (a address) String() string {
	if a.scheme == "file" {
		return FileURI(a.path)
	}
	if a.url != nil {
		return a.url.String()
	}
	return a.scheme + "://" + a.bucket + "/" + a.path
}

// FileURI is the URI of an absolute path; bytes that are not UTF-8 are escaped.
func FileURI(abs string) string { return (&url.URL{Scheme: "file", Path: abs}).String() }

// CheckURI refuses a text that is no URI of a source. Whether it may be read is for Open to say.
func CheckURI(uri string) error {
	_, err := parse(uri)
	return err
}

func parse(uri string) (address, error) {
	if len(uri) > event.MaxURIBytes || !utf8.ValidString(uri) || strings.ContainsFunc(uri, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return address{}, fmt.Errorf("the URI has more than %d bytes, control characters, or is not UTF-8", event.MaxURIBytes)
	}
	scheme, rest, ok := strings.Cut(uri, "://")
	switch {
	case ok && scheme == "file":
		u, err := url.Parse(uri)
		if err != nil || (u.Host != "" && u.Host != "localhost") || !path.IsAbs(u.Path) || u.RawQuery != "" || strings.Contains(u.Path, "\x00") {
			return address{}, errors.New("a file URI is file:///absolute/path, with % before special characters as two hex digits")
		}
		return address{scheme: scheme, path: filepath.Clean(u.Path)}, nil
	case ok && (scheme == "s3" || scheme == "gs"):
		bucket, name, _ := strings.Cut(rest, "/")
		if bucket == "" {
			return address{}, fmt.Errorf("a %s URI is %s://bucket/name", scheme, scheme)
		}
		return address{scheme: scheme, bucket: bucket, path: name}, nil
	case ok && scheme == "https":
		return parseWeb(uri)
	}
	return address{}, errors.New("the URI does not begin with file://, s3://, gs:// or https://")
}

// Sources are the places that audio may be read from. The zero value allows none. It is safe for concurrent use.
type Sources struct{ places []place }

// New allows places: /absolute/folder, file:///absolute/folder, s3://bucket[/prefix], gs://bucket[/prefix] and https://host[:port][/prefix]; buckets take the
// parameters of blob.Open, and hosts take private=true, which allows an address that is not on the public internet. Nothing is asked of a place before its first use.
func New(allowed []string) (*Sources, error) { return newSources(allowed, fetch.Deps{}) }

func newSources(allowed []string, deps fetch.Deps) (*Sources, error) {
	s := &Sources{}
	for _, text := range allowed {
		p, err := newPlace(text, deps)
		if err != nil {
			return nil, fmt.Errorf("sources: %w", err)
		}
		s.places = append(s.places, p)
	}
	return s, nil
}

func newPlace(text string, deps fetch.Deps) (place, error) {
	scheme, _, isURI := strings.Cut(text, "://")
	switch {
	case !isURI && filepath.IsAbs(text):
		return folder(filepath.Clean(text)), nil
	case scheme == "file":
		a, err := parse(text)
		if err != nil {
			return nil, err
		}
		return folder(a.path), nil
	case scheme == "s3" || scheme == "gs":
		return openBucket(text)
	case scheme == "https":
		return newHost(text, deps)
	}
	return nil, fmt.Errorf("%.80q is neither an absolute folder nor s3://bucket, gs://bucket or https://host", text)
}

func (s *Sources) find(uri string) (place, address, error) {
	a, err := parse(uri)
	if err != nil {
		return nil, a, fmt.Errorf("%w: %w", ErrNotAllowed, err)
	}
	for _, p := range s.places {
		if p.holds(a) {
			return p, a, nil
		}
	}
	return nil, a, fmt.Errorf("%w: the operator allows places with sources (LARK_SOURCES)", ErrNotAllowed)
}

// Open opens the audio of a URI. Errors are those of this package.
func (s *Sources) Open(ctx context.Context, uri string) (*Object, error) {
	p, a, err := s.find(uri)
	if err != nil {
		return nil, err
	}
	return p.open(ctx, a)
}

// Walk calls fn for every file below a folder or prefix. Files in folders whose names begin with a dot are left out. An error of fn ends it.
func (s *Sources) Walk(ctx context.Context, uri string, fn func(Entry) error) error {
	p, a, err := s.find(uri)
	if err != nil {
		return err
	}
	return p.walk(ctx, a, fn)
}
