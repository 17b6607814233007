package traces

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Bytes of one OTLP request, as sent and after decompression.
const (
	maxOTLPBody     = 4 << 20
	maxOTLPUnpacked = 16 << 20
)

var errTooLarge = errors.New("request is too large")

// OTLPHandler takes spans by OTLP over HTTP: POST of application/x-protobuf, plain or gzip. Larger
// requests than the limits end in 413, others that cannot be read in 4xx.
func (t *Store) OTLPHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "use POST", http.StatusMethodNotAllowed)
			return
		}
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-protobuf" {
			http.Error(w, "send application/x-protobuf", http.StatusUnsupportedMediaType)
			return
		}
		raw, status, err := readOTLP(w, r)
		if err != nil {
			http.Error(w, err.Error(), status)
			return
		}
		t.take(w, raw)
	})
}

func (t *Store) take(w http.ResponseWriter, raw []byte) {
	var req collectorpb.ExportTraceServiceRequest
	if err := proto.Unmarshal(raw, &req); err != nil {
		http.Error(w, "decoding the request: not an OTLP trace request", http.StatusBadRequest)
		return
	}
	spans, rejected := fromOTLP(req.GetResourceSpans())
	t.Add(spans...)
	resp := &collectorpb.ExportTraceServiceResponse{}
	if rejected > 0 {
		resp.PartialSuccess = &collectorpb.ExportTracePartialSuccess{
			RejectedSpans: int64(rejected), ErrorMessage: "spans without proper ids",
		}
	}
	body, err := proto.Marshal(resp)
	if err != nil {
		http.Error(w, "encoding the response", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(body) // the client is gone when this fails
}

// readOTLP reads the body within both limits; the status is the one to answer an error with.
func readOTLP(w http.ResponseWriter, r *http.Request) ([]byte, int, error) {
	var body io.Reader = http.MaxBytesReader(w, r.Body, maxOTLPBody)
	switch r.Header.Get("Content-Encoding") {
	case "", "identity":
	case "gzip":
		unzip, err := gzip.NewReader(body)
		if err != nil {
			return nil, readStatus(err), fmt.Errorf("decompressing the request: %w", err)
		}
		defer func() { _ = unzip.Close() }()
		body = unzip
	default:
		return nil, http.StatusUnsupportedMediaType, errors.New("send gzip or no content encoding")
	}
	raw, err := io.ReadAll(io.LimitReader(body, maxOTLPUnpacked+1))
	if err != nil {
		return nil, readStatus(err), fmt.Errorf("reading the request: %w", err)
	}
	if len(raw) > maxOTLPUnpacked {
		return nil, http.StatusRequestEntityTooLarge, errTooLarge
	}
	return raw, http.StatusOK, nil
}

func readStatus(err error) int {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}
