package web

import (
	"encoding/json"
	"net/http"

	"github.com/larkstream/larkstream/gateway/client"
)

// WriteProblem answers with a problem of this status, code and detail.
func WriteProblem(w http.ResponseWriter, p client.Problem) {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	w.Header().Set("Content-Type", p.ContentType(""))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the caller is gone when this fails
}
