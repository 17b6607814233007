package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Errors of files.
var (
	ErrFileNotFound = errors.New("file not found")
	ErrFileInUse    = errors.New("file is read by a batch that has not ended")
	ErrFilesFull    = errors.New("too many files")
)

// File is a file of OpenAI's API.
type File struct {
	ID, Tenant, Purpose, Name string
	// Bytes is FileIncomplete while the file comes in.
	Bytes int64
	// Expires is zero for a file that stays.
	Created, Expires time.Time
}

// FileIncomplete is File.Bytes of a file that comes in.
const FileIncomplete = -1

const fileColumns = `file_id, tenant, purpose, filename, bytes, created_ms, expires_ms`

func scanFile(row scanner) (File, error) {
	var f File
	var created, expires int64
	err := row.Scan(&f.ID, &f.Tenant, &f.Purpose, &f.Name, &f.Bytes, &created, &expires)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrFileNotFound
	}
	f.Created, f.Expires = fromMillis(created), fromMillis(expires)
	return f, err
}

// CreateFile notes a file, unless it is noted already. It fails with ErrFilesFull where the tenant has most bytes of files or more.
func (s *SQL) CreateFile(ctx context.Context, f File, most int64) error {
	err := s.inTx(ctx, func(tx *tx) error {
		var held int64
		if err := tx.row(ctx, `SELECT COALESCE(SUM(CASE WHEN bytes < 0 THEN 0 ELSE bytes END), 0) FROM files WHERE tenant = ?`, f.Tenant).Scan(&held); err != nil {
			return err
		}
		if held >= most {
			return ErrFilesFull
		}
		return insertFile(ctx, tx, f)
	})
	if err != nil {
		return fmt.Errorf("creating file: %w", err)
	}
	return nil
}

func insertFile(ctx context.Context, tx *tx, f File) error {
	_, err := tx.insert(ctx, `files (`+fileColumns+`)`, [][]any{{f.ID, f.Tenant, f.Purpose, f.Name, f.Bytes, millis(f.Created), millis(f.Expires)}}, `ON CONFLICT (file_id) DO NOTHING`)
	return err
}

// FinishFile notes that all bytes of a file are in the object store, and counts them as sent by its tenant.
func (s *SQL) FinishFile(ctx context.Context, f File) error {
	err := s.inTx(ctx, func(tx *tx) error {
		n, err := tx.exec(ctx, `UPDATE files SET bytes = ?, purpose = ?, filename = ?, expires_ms = ? WHERE file_id = ?`, f.Bytes, f.Purpose, f.Name, millis(f.Expires), f.ID)
		if err == nil && n == 0 {
			err = ErrFileNotFound
		}
		if err != nil {
			return err
		}
		return noteUse(ctx, tx, s.now(), map[string]Usage{f.Tenant: {UploadBytes: f.Bytes}})
	})
	if err != nil {
		return fmt.Errorf("finishing file %.64q: %w", f.ID, err)
	}
	return nil
}

// File returns a file, or ErrFileNotFound.
func (s *SQL) File(ctx context.Context, id string) (File, error) {
	f, err := scanFile(s.rowRead(ctx, `SELECT `+fileColumns+` FROM files WHERE file_id = ?`, id))
	if err != nil {
		return File{}, fmt.Errorf("reading file %.64q: %w", id, err)
	}
	return f, nil
}

// Files lists the whole files of a tenant, the newest first or the oldest first, after the place given. Purpose "" is any.
func (s *SQL) Files(ctx context.Context, tenant, purpose string, after Place, oldest bool, limit int) (files []File, err error) {
	query, args := `SELECT `+fileColumns+` FROM files WHERE tenant = ? AND bytes >= 0`, []any{tenant}
	if purpose != "" {
		query, args = query+` AND purpose = ?`, append(args, purpose)
	}
	compare, order := `<`, `DESC`
	if oldest {
		compare, order = `>`, `ASC`
	}
	if after != (Place{}) {
		query, args = query+` AND (created_ms, file_id) `+compare+` (?, ?)`, append(args, millis(after.Created), after.ID)
	}
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		f, err := scanFile(rows)
		files = append(files, f)
		return err
	}, query+` ORDER BY created_ms `+order+`, file_id `+order+` LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("listing files: %w", err)
	}
	return files, nil
}

// DeleteFile forgets a file. It fails with ErrFileInUse while a batch of the tenant reads it; forgetting again changes nothing.
func (s *SQL) DeleteFile(ctx context.Context, f File) error {
	err := s.inTx(ctx, func(tx *tx) error {
		var readers int
		err := tx.row(ctx, `SELECT COUNT(*) FROM batches WHERE tenant = ? AND ended_ms = 0 AND spec LIKE ?`, f.Tenant, `%"`+f.ID+`"%`).Scan(&readers)
		if err == nil && readers > 0 {
			err = ErrFileInUse
		}
		if err == nil {
			_, err = tx.exec(ctx, `DELETE FROM files WHERE file_id = ?`, f.ID)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("deleting file %.64q: %w", f.ID, err)
	}
	return nil
}

// ExpiredFiles returns files whose time is over, up to limit, but not those that a batch reads.
func (s *SQL) ExpiredFiles(ctx context.Context, at time.Time, limit int) (files []File, err error) {
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		f, err := scanFile(rows)
		files = append(files, f)
		return err
	}, `SELECT `+fileColumns+` FROM files AS f WHERE expires_ms > 0 AND expires_ms < ?
		AND NOT EXISTS (SELECT 1 FROM batches AS b WHERE b.tenant = f.tenant AND b.ended_ms = 0 AND b.spec LIKE '%"' || f.file_id || '"%') ORDER BY expires_ms LIMIT ?`, millis(at), limit)
	if err != nil {
		return nil, fmt.Errorf("reading expired files: %w", err)
	}
	return files, nil
}

// FileKey is where the bytes of a file lie in the object store.
func FileKey(id string) string { return "file/" + id }
