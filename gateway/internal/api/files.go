package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/larkstream/larkstream/gateway/internal/openai"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/service"
)

// FileStore is the part of the job store that files need.
type FileStore interface {
	CreateFile(ctx context.Context, f store.File, most int64) error
	FinishFile(ctx context.Context, f store.File) error
	File(ctx context.Context, id string) (store.File, error)
	Files(ctx context.Context, tenant, purpose string, after store.Place, oldest bool, limit int) ([]store.File, error)
	DeleteFile(ctx context.Context, f store.File) error
	ExpiredFiles(ctx context.Context, at time.Time, limit int) ([]store.File, error)
}

// FileBlobs is the part of the object store that files need.
type FileBlobs interface {
	Put(ctx context.Context, key string, r io.Reader, limit int64) (int64, error)
	Get(ctx context.Context, key string) (io.ReadCloser, error)
	Delete(ctx context.Context, key string) error
}

const (
	codeFileNotFound = "file_not_found"
	codeFileInUse    = "file_in_use"
	codeFilesFull    = "files_full"
	codeFileTooLarge = "file_too_large"
	codeFileEmpty    = "file_empty"

	// maxTenantFiles bounds the bytes of all files of a tenant.
	maxTenantFiles = 10 << 30
	// keepFiles is how long a file is kept if its owner does not say.
	keepFiles = 30 * 24 * time.Hour
	minExpiry = 3600
	maxExpiry = 30 * 24 * 3600
)

var filePattern = regexp.MustCompile(`^file-[A-Za-z0-9._-]{1,80}$`)

type uploadInput struct{ raw *rawRequest }

// Resolve implements huma.Resolver.
func (in *uploadInput) Resolve(ctx huma.Context) []error {
	r, w := humago.Unwrap(ctx)
	in.raw = &rawRequest{r: r, w: w}
	return nil
}

var _ huma.Resolver = (*uploadInput)(nil)

type fileInput struct {
	ID string `path:"id" doc:"File id" maxLength:"100"`
}

type fileOutput struct{ Body openai.File }

type fileDeletedOutput struct{ Body openai.FileDeleted }

type listFilesInput struct {
	Purpose string `query:"purpose" doc:"Only files of this purpose" maxLength:"40"`
	After   string `query:"after" doc:"Id of the last file of the page before" maxLength:"100"`
	Limit   int    `query:"limit" doc:"Files per page" minimum:"1" maximum:"10000" default:"1000"`
	Order   string `query:"order" doc:"By the time of creation" enum:"asc,desc" default:"desc"`
}

type listFilesOutput struct{ Body openai.FileList }

func (a *API) registerFiles() {
	upload := a.spoken("upload-file", http.MethodPost, "/v1/files", "Upload a file", "multipart/form-data with `purpose`, which is batch, and `file`, at most 512 MiB. A file is deleted after 30 days, or after "+
		"`expires_after[seconds]`.", "files")
	upload.Middlewares = huma.Middlewares{a.allowed, a.limited, a.audited} // it sets its own time limit
	huma.Register(a.huma, upload, a.uploadFile)
	text := &huma.Schema{Type: huma.TypeString}
	a.huma.OpenAPI().Paths[upload.Path].Post.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"multipart/form-data": {Schema: &huma.Schema{
		Type: huma.TypeObject, Required: []string{"purpose", "file"}, Properties: map[string]*huma.Schema{
			"purpose": {Type: huma.TypeString, Enum: []any{openai.PurposeBatch}}, "file": {Type: huma.TypeString, Format: "binary", Description: "JSON lines, see /v1/batches"},
			"expires_after[anchor]": {Type: huma.TypeString, Enum: []any{"created_at"}}, "expires_after[seconds]": text,
		},
	}}}}
	huma.Register(a.huma, a.spoken("list-files", http.MethodGet, "/v1/files", "List files", "In pages.", "files"), a.listFiles)
	huma.Register(a.huma, a.spoken("get-file", http.MethodGet, "/v1/files/{id}", "Get a file", "What is known of a file.", "files"), func(ctx context.Context, in *fileInput) (*fileOutput, error) {
		f, err := a.file(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return &fileOutput{Body: fileView(f)}, nil
	})
	content := a.spoken("get-file-content", http.MethodGet, "/v1/files/{id}/content", "Get the content of a file", "Its bytes.", "files")
	content.Middlewares = huma.Middlewares{a.allowed, a.limited}
	content.Responses["200"] = &huma.Response{Description: "The bytes", Content: map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}
	huma.Register(a.huma, content, a.fileContent)
	huma.Register(a.huma, a.spoken("delete-file", http.MethodDelete, "/v1/files/{id}", "Delete a file", "A file that a batch still reads cannot be deleted.", "files"), a.deleteFile)
}

func fileView(f store.File) openai.File {
	return openai.File{
		ID: f.ID, Object: "file", Bytes: f.Bytes, CreatedAt: f.Created.Unix(), ExpiresAt: unix(f.Expires), Filename: f.Name, Purpose: f.Purpose, Status: "processed",
	}
}

// unix is a time in seconds, nil for one that has not come.
func unix(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	s := t.Unix()
	return &s
}

// file reads a whole file of the tenant, with a problem as its error.
func (a *API) file(ctx context.Context, id string) (store.File, error) {
	err := store.ErrFileNotFound
	var f store.File
	if filePattern.MatchString(id) {
		f, err = a.deps.Files.File(ctx, id)
	}
	if err == nil && (f.Tenant != tenantOf(ctx) || f.Bytes == store.FileIncomplete) {
		err = store.ErrFileNotFound
	}
	if err != nil {
		return store.File{}, a.failFile(ctx, err)
	}
	return f, nil
}

func (a *API) failFile(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, store.ErrFileNotFound), errors.Is(err, blob.ErrNotFound):
		return problem(http.StatusNotFound, codeFileNotFound, "there is no such file")
	case errors.Is(err, store.ErrFileInUse):
		return problem(http.StatusBadRequest, codeFileInUse, "a batch that has not ended reads the file: wait for the batch, or cancel it")
	case errors.Is(err, store.ErrFilesFull):
		return problem(http.StatusForbidden, codeFilesFull, "the files of your tenant have %d bytes or more, which is the limit; delete some", int64(maxTenantFiles))
	}
	return a.fail(ctx, err)
}

// uploadFile takes a file in: its row first, so that what is left of an upload that breaks off is found and deleted.
func (a *API) uploadFile(ctx context.Context, in *uploadInput) (*fileOutput, error) {
	from := service.Client(in.raw.r.RemoteAddr)
	if whose, limit := a.uploads.take(from); limit > 0 {
		return nil, again(http.StatusTooManyRequests, codeTooManyUploads, 1, "%d requests %s are being taken in, which is the limit", limit, whose)
	}
	defer a.uploads.give(from)
	if err := errors.Join(a.room(max(0, in.raw.r.ContentLength)), a.withinLimits(ctx, in.raw.r.ContentLength)); err != nil {
		return nil, a.fail(ctx, err)
	}
	kind, params, err := mime.ParseMediaType(in.raw.r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return nil, problem(http.StatusUnsupportedMediaType, codeUnsupportedMedia, "Content-Type must be multipart/form-data")
	}
	ctx, cancel := context.WithTimeout(ctx, a.limits.UploadTimeout)
	defer cancel()
	body := http.MaxBytesReader(in.raw.w, a.paced(ctx, in.raw), openai.MaxFile+2*maxFormBytes)
	now := a.now().UTC().Truncate(time.Millisecond)
	f := store.File{ID: openai.FilePrefix + a.deps.NewID(), Tenant: tenantOf(ctx), Bytes: store.FileIncomplete, Created: now, Expires: now.Add(a.limits.UploadTimeout)}
	if err := a.deps.Files.CreateFile(ctx, f, maxTenantFiles); err != nil {
		return nil, a.failFile(ctx, err)
	}
	whole, err := a.readFile(ctx, f, multipart.NewReader(bufio.NewReaderSize(body, uploadBuffer), params["boundary"]))
	if err == nil {
		err = a.deps.Files.FinishFile(ctx, whole)
	}
	if err != nil {
		a.dropFile(ctx, f)
		return nil, a.failFile(ctx, bodyError(err))
	}
	return &fileOutput{Body: fileView(whole)}, nil
}

// dropFile deletes a file that did not come in whole; if it cannot, the file expires.
func (a *API) dropFile(ctx context.Context, f store.File) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.limits.RequestTimeout)
	defer cancel()
	if err := a.removeFile(ctx, f); err != nil {
		a.deps.Log.WarnContext(ctx, "a file that did not come in whole stays until it expires", slog.String("file", f.ID), slog.Any("error", err))
	}
}

// removeFile deletes the bytes of a file, then its row: a row without bytes is found again.
func (a *API) removeFile(ctx context.Context, f store.File) error {
	if err := a.deps.FileBlobs.Delete(ctx, store.FileKey(f.ID)); err != nil && !errors.Is(err, blob.ErrNotFound) {
		return err
	}
	return a.deps.Files.DeleteFile(ctx, f)
}

// readFile reads the form of an upload, and brings the file into the object store.
func (a *API) readFile(ctx context.Context, f store.File, form *multipart.Reader) (store.File, error) {
	keep := keepFiles
	for parts := 0; ; parts++ {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return f, err
		}
		if parts >= maxParts {
			return f, invalid(codeInvalidRequest, "the form has more than %d parts", maxParts)
		}
		switch name := part.FormName(); name {
		case "file":
			if f.Bytes != store.FileIncomplete {
				return f, invalid(codeInvalidRequest, "part file comes twice")
			}
			f.Name = cleanName(part.FileName())
			large := openai.Refuse(http.StatusRequestEntityTooLarge, "file", codeFileTooLarge, "the file is over the limit of %d bytes", openai.MaxFile)
			if f.Bytes, err = a.deps.FileBlobs.Put(ctx, store.FileKey(f.ID), &roomy{Reader: &atMost{r: part, left: openai.MaxFile, err: large}, room: a.room}, openai.MaxFile); err != nil {
				return f, err
			}
		case "purpose", "expires_after[anchor]", "expires_after[seconds]":
			raw, err := io.ReadAll(&atMost{r: part, left: 100, err: openai.Refuse(http.StatusBadRequest, name, codeInvalidRequest, "%s is too long", name)})
			if err != nil {
				return f, err
			}
			if err := setFile(&f, &keep, name, string(raw)); err != nil {
				return f, err
			}
		default:
			return f, openai.Refuse(http.StatusBadRequest, strings.ToValidUTF8(name[:min(len(name), 64)], "?"), "unknown_parameter", "part %.40q is not known; the parts are purpose, file and expires_after", name)
		}
	}
	switch {
	case f.Purpose == "":
		return f, openai.Refuse(http.StatusBadRequest, "purpose", "missing_required_parameter", "purpose is missing: it is batch")
	case f.Bytes == store.FileIncomplete:
		return f, openai.Refuse(http.StatusBadRequest, "file", "missing_required_parameter", "the form has no part file")
	case f.Bytes == 0:
		return f, openai.Refuse(http.StatusBadRequest, "file", codeFileEmpty, "the file is empty")
	}
	f.Expires = f.Created.Add(keep)
	return f, nil
}

func setFile(f *store.File, keep *time.Duration, name, value string) error {
	switch name {
	case "purpose":
		if f.Purpose = value; value != openai.PurposeBatch {
			return openai.Refuse(http.StatusBadRequest, name, "invalid_value", "purpose %.40q is not supported: it is batch", value)
		}
	case "expires_after[anchor]":
		if value != "created_at" {
			return openai.Refuse(http.StatusBadRequest, name, "invalid_value", "expires_after[anchor] must be created_at")
		}
	default:
		s, err := strconv.Atoi(value)
		if err != nil || s < minExpiry || s > maxExpiry {
			return openai.Refuse(http.StatusBadRequest, name, "invalid_value", "expires_after[seconds] must be %d to %d", minExpiry, maxExpiry)
		}
		*keep = time.Duration(s) * time.Second
	}
	return nil
}

func (a *API) listFiles(ctx context.Context, in *listFilesInput) (*listFilesOutput, error) {
	var after store.Place
	if in.After != "" {
		f, err := a.file(ctx, in.After)
		if err != nil {
			return nil, err
		}
		after = store.Place{Created: f.Created, ID: f.ID}
	}
	files, err := a.deps.Files.Files(ctx, tenantOf(ctx), in.Purpose, after, in.Order == "asc", in.Limit+1)
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	out := &listFilesOutput{Body: openai.FileList{Object: "list", Data: []openai.File{}}}
	out.Body.HasMore = len(files) > in.Limit
	for _, f := range files[:min(len(files), in.Limit)] {
		out.Body.Data = append(out.Body.Data, fileView(f))
	}
	if n := len(out.Body.Data); n > 0 {
		out.Body.FirstID, out.Body.LastID = &out.Body.Data[0].ID, &out.Body.Data[n-1].ID
	}
	return out, nil
}

func (a *API) fileContent(ctx context.Context, in *fileInput) (*huma.StreamResponse, error) {
	f, err := a.file(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	content, err := a.deps.FileBlobs.Get(ctx, store.FileKey(f.ID))
	if err != nil {
		return nil, a.failFile(ctx, err)
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer func() { _ = content.Close() }() // only read
		hctx.SetHeader("Content-Type", "application/octet-stream")
		hctx.SetHeader("X-Content-Type-Options", "nosniff")
		hctx.SetHeader("Content-Length", strconv.FormatInt(f.Bytes, 10))
		hctx.SetStatus(http.StatusOK)
		_, w := humago.Unwrap(hctx)
		rc := http.NewResponseController(w)
		_ = rc.SetWriteDeadline(time.Now().Add(a.limits.UploadTimeout)) // recorders in tests have no deadlines
		defer func() { _ = rc.SetWriteDeadline(time.Time{}) }()
		if _, err := io.Copy(w, content); err != nil {
			a.deps.Log.DebugContext(ctx, "a file was not read to its end", slog.String("file", f.ID), slog.Any("error", err))
			panic(http.ErrAbortHandler) // the caller must see that the answer is not whole
		}
	}}, nil
}

func (a *API) deleteFile(ctx context.Context, in *fileInput) (*fileDeletedOutput, error) {
	f, err := a.file(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if err := a.deps.Files.DeleteFile(ctx, f); err != nil {
		return nil, a.failFile(ctx, err)
	}
	if err := a.deps.FileBlobs.Delete(ctx, store.FileKey(f.ID)); err != nil && !errors.Is(err, blob.ErrNotFound) {
		a.deps.Log.WarnContext(ctx, "the bytes of a deleted file stay in the object store", slog.String("file", f.ID), slog.Any("error", err))
	}
	return &fileDeletedOutput{Body: openai.FileDeleted{ID: f.ID, Object: "file", Deleted: true}}, nil
}

// ExpireFiles deletes files whose time is over.
func (a *API) ExpireFiles(ctx context.Context) error {
	const atOnce = 100
	for {
		files, err := a.deps.Files.ExpiredFiles(ctx, a.now(), atOnce)
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := a.removeFile(ctx, f); err != nil && !errors.Is(err, store.ErrFileInUse) {
				return err
			}
		}
		if len(files) < atOnce {
			return nil
		}
	}
}
