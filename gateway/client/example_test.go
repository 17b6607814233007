package client_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
)

// Submit a track with a question, print the answer as it is written, and read the outcomes. The server stands for a gateway such as
// http://127.0.0.1:8080, which `lark up` starts.
func Example() {
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/jobs", "/v1/jobs/7":
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, `{"id":"7","state":"succeeded"}`)
		case "/v1/jobs/7/events":
			_, _ = io.WriteString(w, "id: 3\nevent: token\ndata: {\"text\":\"A minor.\"}\n\nid: 5\nevent: end\ndata: {\"state\":\"succeeded\"}\n\n")
		case "/v1/jobs/7/outcomes":
			_, _ = io.WriteString(w, `{"outcomes":[{"question":"Which key?","state":"answered","answer":"A minor."}],"next":null}`)
		}
	}))
	defer gateway.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	c, err := client.New(gateway.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	track := &client.Upload{Name: "song.wav", Reader: strings.NewReader("the bytes of the file")}
	job, err := c.Submit(ctx, client.Submission{Questions: []string{"Which key?"}}, track, client.SubmitOptions{IdempotencyKey: "song-1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	job, outcomes, err := c.Wait(ctx, job.ID, func(ev client.Event) error {
		if ev.Token != nil {
			fmt.Println("token:", ev.Token.Text)
		}
		return nil
	})
	if problem, ok := client.AsProblem(err); ok {
		fmt.Println("refused:", problem.Code)
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(job.State)
	for _, o := range outcomes {
		fmt.Println(o.Question, o.Answer)
	}
	// Output:
	// token: A minor.
	// succeeded
	// Which key? A minor.
}
