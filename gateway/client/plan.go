package client

import (
	"context"
	"fmt"
)

// MaxPlanItems is how many items one request may have looked at.
const MaxPlanItems = 200

// CodeSourceUnavailable is the code of a planned item whose place does not answer. A run waits for such a place.
const CodeSourceUnavailable = "source_unavailable"

// PlanRequest asks what a run would meet in some items.
type PlanRequest struct {
	Asked RunSubmission `json:"asked" doc:"What the run would ask"`
	Items []NewItem     `json:"items" minItems:"1" maxItems:"200"`
	Read  bool          `json:"read,omitempty" doc:"Read the files whole, for their digests; left out = headers only"`
}

// PlanReply tells of the first items of a request; the others are for the next request.
type PlanReply struct {
	Items []PlannedItem `json:"items" doc:"Of the first items of the request, at least one: a request has bounded time. Ask again for the others"`
}

// PlannedItem is what a look at an item has shown. Nothing was spent on it.
type PlannedItem struct {
	ID           string  `json:"id"`
	Code         string  `json:"code,omitempty" doc:"Why the item would fail, as far as a look tells; source_unavailable = its place does not answer now"`
	Message      string  `json:"message,omitempty"`
	Format       string  `json:"format,omitempty" doc:"By content"`
	Bytes        int64   `json:"bytes"`
	BytesRead    int64   `json:"bytes_read,omitempty" doc:"Of a file that was read whole"`
	DurationS    float64 `json:"duration_s,omitempty" doc:"Left out = the header does not tell"`
	Estimated    bool    `json:"estimated,omitempty" doc:"The duration follows from the size and the bit rate at the beginning"`
	NeedsFFmpeg  bool    `json:"needs_ffmpeg,omitempty" doc:"The chunker needs ffmpeg for it"`
	SHA256       string  `json:"sha256,omitempty" doc:"Of the file, if it was read or the manifest tells it"`
	Sound        string  `json:"sound,omitempty" doc:"Equal for two files of one format that decode to the same sound, whatever their tags say: the sum of the samples that flac carries, the samples of wav, the frames of mp3. Left out = not known"`
	Unchanged    bool    `json:"unchanged,omitempty" doc:"A run with changed_since would skip it"`
	Windows      int     `json:"windows,omitempty"`
	HeardS       float64 `json:"heard_s,omitempty" doc:"Seconds of audio that the encoder hears of all windows"`
	WindowsKnown int     `json:"windows_known,omitempty" doc:"Windows whose embeddings are stored"`
	Answers      int     `json:"answers,omitempty" doc:"Windows times questions"`
	AnswersKnown int     `json:"answers_known,omitempty" doc:"Answers that an earlier job got from the same model and that are kept"`
}

// Rates are what work has taken here of late, as the caller's newest succeeded jobs tell, and what it costs.
type Rates struct {
	Model        string      `json:"model,omitempty" doc:"That is served now"`
	ModelDigest  string      `json:"model_digest,omitempty"`
	Windows      int         `json:"windows" doc:"Encoded windows that were measured; 0 = encoder_s_per_window is not known"`
	Answers      int         `json:"answers" doc:"Decoded answers that were measured; 0 = the other rates are not known"`
	EncoderS     float64     `json:"encoder_s_per_window"`
	DecoderS     float64     `json:"decoder_s_per_answer"`
	PromptTokens float64     `json:"prompt_tokens_per_answer"`
	OutputTokens float64     `json:"output_tokens_per_answer"`
	Prices       *UnitPrices `json:"prices,omitempty" doc:"Left out = the operator has configured none"`
}

// UnitPrices are the prices that the operator has configured.
type UnitPrices struct {
	Currency      string  `json:"currency"`
	AudioSecond   float64 `json:"audio_second"`
	EncoderSecond float64 `json:"encoder_second"`
	PromptToken   float64 `json:"prompt_token"`
	OutputToken   float64 `json:"output_token"`
}

// PlanRun asks what a run would meet in at most MaxPlanItems items. It makes no run and spends nothing. The reply may hold fewer items than the request.
func (c *Client) PlanRun(ctx context.Context, req PlanRequest) (reply PlanReply, err error) {
	if err := c.post(ctx, c.base.JoinPath("/v1/runs/plan"), req, &reply); err != nil {
		return PlanReply{}, fmt.Errorf("planning run: %w", err)
	}
	return reply, nil
}

// Rates reads what work has taken here of late, for answers in a form ("" = free text).
func (c *Client) Rates(ctx context.Context, responseSchema string) (rates Rates, err error) {
	u := c.base.JoinPath("/v1/rates")
	u.RawQuery = query(map[string]string{"response_schema": responseSchema})
	if err := c.get(ctx, u, &rates); err != nil {
		return Rates{}, fmt.Errorf("reading rates: %w", err)
	}
	return rates, nil
}
