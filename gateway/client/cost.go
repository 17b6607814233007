package client

// Cost is what an outcome or a job has cost.
type Cost struct {
	AudioS       float64  `json:"audio_s" doc:"Seconds of audio heard; the outcomes of a window share them"`
	EncoderS     float64  `json:"encoder_s" doc:"Seconds of the encoder's work, 0 where the embedding was known; the outcomes of a window share them"`
	PromptTokens int64    `json:"prompt_tokens"`
	OutputTokens int64    `json:"output_tokens"`
	Amount       *float64 `json:"amount,omitempty" doc:"By the prices that the operator configured"`
	Currency     string   `json:"currency,omitempty" doc:"Of amount"`
}
