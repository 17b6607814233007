package api

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/blob"
)

// spooled is audio in a temporary file that has no name any more: it is gone when it is closed, or
// when the process dies.
type spooled struct {
	file   *os.File
	sha256 string
	bytes  int64
}

// Close gives the file's space back.
func (s *spooled) Close() error { return s.file.Close() }

// uploadBuffer is how much of an upload is read, and written, at once: the forms' own reader asks for 4 KiB at a time, which would be two calls of the
// system for every one of them.
const uploadBuffer = 64 << 10

// spool copies audio to disk while hashing it; memory use does not depend on its size.
func (a *API) spool(r io.Reader) (*spooled, error) {
	f, err := os.CreateTemp(a.deps.SpoolDir, "lark-audio-*")
	if err != nil {
		return nil, fmt.Errorf("making spool file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("unlinking spool file: %w", err), f.Close())
	}
	h := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(f, h), uploadBuffer)
	n, err := io.Copy(w, &roomy{Reader: r, room: a.room})
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &spooled{file: f, sha256: hex.EncodeToString(h.Sum(nil)), bytes: n}, nil
}

// readRequest reads the body of a submission, in either of its forms.
func (a *API) readRequest(ctx context.Context, raw *rawRequest) (*request, error) {
	sent := a.paced(ctx, raw)
	kind, params, err := mime.ParseMediaType(raw.r.Header.Get("Content-Type"))
	if err != nil {
		return nil, errMedia()
	}
	switch kind {
	case "application/json":
		body := http.MaxBytesReader(raw.w, sent, maxFormBytes)
		req := &request{}
		return req, decodeJSON(body, &req.Submission)
	case "multipart/form-data":
		// What the form holds beside the audio is bounded again where it is read.
		body := http.MaxBytesReader(raw.w, sent, a.limits.MaxAudioBytes+2*maxFormBytes)
		return a.readForm(multipart.NewReader(bufio.NewReaderSize(body, uploadBuffer), params["boundary"]))
	}
	return nil, errMedia()
}

// paced is the body of a request, which must come in time and at the least rate.
func (a *API) paced(ctx context.Context, raw *rawRequest) *paced {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(a.limits.UploadTimeout)
	}
	until := http.NewResponseController(raw.w).SetReadDeadline
	return &paced{ReadCloser: raw.r.Body, until: until, window: a.limits.UploadWindow, rate: a.limits.MinUploadRate, end: deadline}
}

func errMedia() error {
	return problem(http.StatusUnsupportedMediaType, codeUnsupportedMedia, "Content-Type must be multipart/form-data or application/json")
}

// decodeJSON reads exactly one JSON value without unknown keys.
func decodeJSON(r io.Reader, dst any) error {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	if err := dec.Decode(dst); err != nil {
		return bodyError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return problem(http.StatusBadRequest, codeMalformedBody, "the JSON value is followed by something else")
	}
	return nil
}

// bodyError tells a body that is wrong from one that is too large or too slow.
func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	var own *client.Problem
	if errors.As(err, &tooLarge) || errors.As(err, &own) || errors.Is(err, ErrNoRoom) || blob.Full(err) {
		return err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		p := problem(http.StatusRequestTimeout, codeBodyTimeout, "the body did not come in time; send it over a faster connection, or raise limits.upload_timeout of the gateway")
		p.Retryable = true
		return p
	}
	text, _ := strings.CutPrefix(err.Error(), "json: ")
	return problem(http.StatusBadRequest, codeMalformedBody, "the body cannot be read: %.200s", strings.ToValidUTF8(text, "?"))
}

// form gathers the parts of a multipart request.
type form struct {
	req       *request
	left      int64 // bytes that fields may still have
	parts     int
	hasJSON   bool
	hasFields bool
}

// maxParts bounds the parts beside the questions.
const maxParts = 16

func (a *API) readForm(mr *multipart.Reader) (*request, error) {
	f := &form{req: &request{}, left: maxFormBytes}
	for {
		part, err := mr.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			if f.parts++; f.parts > a.limits.MaxQuestions+maxParts {
				err = problem(http.StatusUnprocessableEntity, codeInvalidRequest, "the form has more than %d parts", a.limits.MaxQuestions+maxParts)
			} else {
				err = a.readPart(f, part)
			}
		}
		if err != nil {
			f.req.discard()
			return nil, bodyError(err)
		}
	}
	if f.hasJSON && f.hasFields {
		f.req.discard()
		return nil, invalid(codeInvalidRequest, "use either part request or the simple fields, not both")
	}
	return f.req, nil
}

func (a *API) readPart(f *form, part *multipart.Part) error {
	name := part.FormName()
	switch {
	case name == "audio":
		return a.readAudio(f, part)
	case name == "request":
		raw, err := f.field(part)
		if err != nil {
			return err
		}
		f.hasJSON = true
		upload, audioName := f.req.upload, f.req.AudioName
		f.req.Submission = client.Submission{}
		if err := decodeJSON(bytes.NewReader(raw), &f.req.Submission); err != nil {
			return err
		}
		f.req.upload = upload
		if f.req.AudioName == "" {
			f.req.AudioName = audioName
		}
		return nil
	case name == "questions", name == "plan", name == "spans", a.options[name] != nil:
		raw, err := f.field(part)
		if err != nil {
			return err
		}
		f.hasFields = true
		return f.set(name, string(raw))
	default:
		options := strings.Join(slices.Sorted(maps.Keys(a.options)), ", ")
		return invalid(codeInvalidRequest, "part %.40q is not known; the parts are audio, request, questions, plan, spans, and the options %s", name, options)
	}
}

func (a *API) readAudio(f *form, part *multipart.Part) error {
	if f.req.upload != nil {
		return invalid(codeInvalidRequest, "part audio comes twice; one job has one track")
	}
	upload, err := a.spool(&atMost{r: part, left: a.limits.MaxAudioBytes, err: problem(http.StatusRequestEntityTooLarge, codeAudioTooLarge,
		"the audio is over the limit of %d bytes", a.limits.MaxAudioBytes)})
	if err != nil {
		return err
	}
	f.req.upload = upload
	if f.req.AudioName == "" {
		f.req.AudioName = cleanName(part.FileName())
	}
	return nil
}

// field reads a small part whole.
func (f *form) field(part *multipart.Part) ([]byte, error) {
	tooLarge := problem(http.StatusRequestEntityTooLarge, codeBodyTooLarge, "the fields of the form are over their limit of %d bytes", maxFormBytes)
	raw, err := io.ReadAll(&atMost{r: part, left: f.left, err: tooLarge})
	f.left -= int64(len(raw))
	return raw, err
}

func (f *form) set(name, value string) error {
	switch name {
	case "questions":
		f.req.Questions = append(f.req.Questions, value)
	case "plan":
		f.req.Plan = value
	case "spans":
		spans, err := parseSpans(value)
		if err != nil {
			return err
		}
		f.req.Spans = spans
		if f.req.Plan == "" {
			f.req.Plan = client.PlanExplicit
		}
	default:
		return setOption(&f.req.Options, name, value)
	}
	return nil
}

// setOption sets an option by its name in JSON: as text, or as true, false or a number where it is no text.
func setOption(o *client.Options, name, value string) error {
	raw, err := json.Marshal(map[string]string{name: value})
	if err != nil {
		return invalid(codeInvalidRequest, "option %s is not text", name)
	}
	if json.Unmarshal(raw, o) == nil {
		return nil
	}
	raw, err = json.Marshal(map[string]json.RawMessage{name: json.RawMessage(value)})
	if err != nil || json.Unmarshal(raw, o) != nil {
		return invalid(codeInvalidRequest, "option %s cannot be %.40q: it is true, false or a number", name, value)
	}
	return nil
}

// parseSpans reads "30-55,60-85".
func parseSpans(text string) ([]client.Span, error) {
	var out []client.Span
	for item := range strings.SplitSeq(text, ",") {
		from, to, ok := strings.Cut(strings.TrimSpace(item), "-")
		start, err1 := strconv.ParseFloat(from, 64)
		end, err2 := strconv.ParseFloat(to, 64)
		if !ok || err1 != nil || err2 != nil {
			return nil, invalid(codePlanInvalid, "spans must be start-end in seconds, separated by commas, such as 30-55,60-85")
		}
		out = append(out, client.Span{StartS: start, EndS: end})
	}
	return out, nil
}

// atMost is a reader that fails with err once more than left bytes have come.
type atMost struct {
	r    io.Reader
	left int64
	err  error
}

// Read implements io.Reader.
func (a *atMost) Read(p []byte) (int, error) {
	if int64(len(p)) > a.left+1 {
		p = p[:a.left+1]
	}
	n, err := a.r.Read(p)
	if int64(n) > a.left {
		return 0, a.err
	}
	a.left -= int64(n)
	return n, err
}
