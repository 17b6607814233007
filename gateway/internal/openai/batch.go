package openai

import (
	"encoding/json"
	"net/http"
)

// MaxLines bounds the requests of a batch, and MaxFile the bytes of a file.
const (
	MaxLines = 50_000
	MaxFile  = 512 << 20
)

// Purposes of files, and prefixes of ids.
const (
	PurposeBatch  = "batch"
	PurposeOutput = "batch_output"
	FilePrefix    = "file-"
	BatchPrefix   = "batch_"
)

// RequestLine is a request of a batch.
type RequestLine struct {
	CustomID string          `json:"custom_id"`
	Method   string          `json:"method"`
	URL      string          `json:"url"`
	Body     json.RawMessage `json:"body"`
}

// ResultLine is what has become of a request of a batch.
type ResultLine struct {
	ID       string        `json:"id"`
	CustomID string        `json:"custom_id"`
	Response *LineResponse `json:"response"`
	Error    *LineError    `json:"error"`
}

// LineResponse is the answer to a request. RequestID is the id of its job, "" where none was made.
type LineResponse struct {
	Status    int    `json:"status_code"`
	RequestID string `json:"request_id"`
	Body      any    `json:"body"`
}

// LineError says why a request has no answer.
type LineError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Status is how these clients know a status.
func Status(status int) int {
	if status == http.StatusUnprocessableEntity {
		return http.StatusBadRequest
	}
	return status
}

// File is a file that was uploaded, or that a batch has written.
type File struct {
	ID        string `json:"id"`
	Object    string `json:"object" enum:"file"`
	Bytes     int64  `json:"bytes"`
	CreatedAt int64  `json:"created_at" doc:"Unix seconds"`
	ExpiresAt *int64 `json:"expires_at,omitempty" doc:"Unix seconds; the file is deleted then"`
	Filename  string `json:"filename"`
	Purpose   string `json:"purpose" enum:"batch,batch_output"`
	Status    string `json:"status" enum:"processed"`
}

// FileList is one page of files.
type FileList struct {
	Object  string  `json:"object" enum:"list"`
	Data    []File  `json:"data"`
	FirstID *string `json:"first_id"`
	LastID  *string `json:"last_id"`
	HasMore bool    `json:"has_more"`
}

// FileDeleted says that a file is gone.
type FileDeleted struct {
	ID      string `json:"id"`
	Object  string `json:"object" enum:"file"`
	Deleted bool   `json:"deleted"`
}

// NewBatch asks for a batch.
type NewBatch struct {
	InputFileID      string            `json:"input_file_id" doc:"A file of purpose batch: JSON lines with custom_id, method POST, url and body" minLength:"1" maxLength:"100"`
	Endpoint         string            `json:"endpoint" enum:"/v1/chat/completions"`
	CompletionWindow string            `json:"completion_window" doc:"Time for all requests, in hours or days: 24h, 1h to 168h. What has no answer then never has one" pattern:"^[1-9][0-9]{0,2}[hd]$" example:"24h"`
	Metadata         map[string]string `json:"metadata,omitempty" doc:"Up to 16 texts of the caller's own"`
	OutputExpires    *Expiry           `json:"output_expires_after,omitempty" doc:"When output and errors are deleted; left out = 30 days after they are written"`
}

// Expiry says how long a file is kept.
type Expiry struct {
	Anchor  string `json:"anchor" enum:"created_at"`
	Seconds int64  `json:"seconds" minimum:"3600" maximum:"2592000"`
}

// Batch is a file of requests and what has become of them.
type Batch struct {
	ID               string            `json:"id"`
	Object           string            `json:"object" enum:"batch"`
	Endpoint         string            `json:"endpoint"`
	Errors           *BatchErrors      `json:"errors"`
	InputFileID      string            `json:"input_file_id"`
	CompletionWindow string            `json:"completion_window"`
	Status           string            `json:"status" enum:"validating,in_progress,finalizing,completed,failed,expired,cancelling,cancelled"`
	OutputFileID     *string           `json:"output_file_id" doc:"Answers, as JSON lines in the order of the requests; null while there are none"`
	ErrorFileID      *string           `json:"error_file_id" doc:"Requests without an answer, as JSON lines"`
	CreatedAt        int64             `json:"created_at"`
	InProgressAt     *int64            `json:"in_progress_at"`
	ExpiresAt        *int64            `json:"expires_at"`
	FinalizingAt     *int64            `json:"finalizing_at"`
	CompletedAt      *int64            `json:"completed_at"`
	FailedAt         *int64            `json:"failed_at"`
	ExpiredAt        *int64            `json:"expired_at"`
	CancellingAt     *int64            `json:"cancelling_at"`
	CancelledAt      *int64            `json:"cancelled_at"`
	RequestCounts    BatchCounts       `json:"request_counts"`
	Metadata         map[string]string `json:"metadata"`
}

// BatchErrors are why the file of a batch is refused.
type BatchErrors struct {
	Object string       `json:"object" enum:"list"`
	Data   []BatchError `json:"data"`
}

// BatchError is a fault of a file.
type BatchError struct {
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Line    *int    `json:"line" doc:"From 1; null of the whole file"`
	Param   *string `json:"param"`
}

// BatchCounts count requests.
type BatchCounts struct {
	Total     int `json:"total"`
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
}

// BatchList is one page of batches.
type BatchList struct {
	Object  string  `json:"object" enum:"list"`
	Data    []Batch `json:"data"`
	FirstID *string `json:"first_id"`
	LastID  *string `json:"last_id"`
	HasMore bool    `json:"has_more"`
}
