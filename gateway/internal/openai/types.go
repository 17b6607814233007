package openai

import (
	"encoding/json"

	"github.com/larkstream/larkstream/gateway/client"
)

// Request asks for a chat completion. The specification is made of it; parameters that it does not have are refused.
type Request struct {
	Model    string    `json:"model" doc:"Id of the model served, from /v1/models, or its name without a version"`
	Messages []Message `json:"messages" doc:"The conversation. It is about one track; the last message is the user's question" minItems:"1"`
	Stream   bool      `json:"stream,omitempty" doc:"Answer with server-sent events: chat.completion.chunk objects, then [DONE]"`
	// StreamOptions belong to Stream.
	StreamOptions       *StreamOptions  `json:"stream_options,omitempty"`
	ResponseFormat      *ResponseFormat `json:"response_format,omitempty" doc:"text, or json_schema for tags in closed vocabularies: the one schema that is taken is Tags of this specification (annotations do not matter), or none with the name tags"`
	MaxCompletionTokens *int64          `json:"max_completion_tokens,omitempty" doc:"Longest answer in tokens" minimum:"1" maximum:"8192"`
	MaxTokens           *int64          `json:"max_tokens,omitempty" doc:"The same, by its older name" minimum:"1" maximum:"8192"`
	Temperature         *float64        `json:"temperature,omitempty" doc:"0 = greedy; left out = the model's own" minimum:"0" maximum:"10"`
	TopP                *float64        `json:"top_p,omitempty" doc:"Nucleus sampling, 1 = all tokens" exclusiveMinimum:"0" maximum:"1"`
	Seed                *int64          `json:"seed,omitempty" doc:"Seed of sampling" minimum:"0"`
	// Metadata is the job's.
	Metadata map[string]string `json:"metadata,omitempty" doc:"Up to 16 texts of the caller's own, kept with the job"`
	N        *int64            `json:"n,omitempty" doc:"1: there is one answer" minimum:"1" maximum:"1"`
	Store    *bool             `json:"store,omitempty" doc:"false: completions are not kept for later retrieval" enum:"false"`
	User     string            `json:"user,omitempty" doc:"Taken and not used"`
	// What follows is not OpenAI's.
	TopK              *int64        `json:"top_k,omitempty" doc:"Sampling of so many of the most likely tokens; as vLLM has it" minimum:"0" maximum:"1048576"`
	RepetitionPenalty *float64      `json:"repetition_penalty,omitempty" doc:"Makes tokens of prompt and answer less likely, 1 = off; as vLLM has it" minimum:"0.1" maximum:"10"`
	Plan              string        `json:"plan,omitempty" doc:"Which windows of the track are heard: all = every one, and one answer is made of theirs; auto = one; explicit = the spans given. Ours" enum:"auto,all,explicit" default:"all"`
	Spans             []client.Span `json:"spans,omitempty" doc:"The windows of plan explicit. Ours"`
}

// Message of a conversation.
type Message struct {
	Role string `json:"role" doc:"developer is another word for system" enum:"system,developer,user,assistant"`
	// Content is a text or a list of parts.
	Content Content `json:"content" doc:"A text or parts. Parts of a user are text, input_audio and audio_url; others have text only"`
	Name    string  `json:"name,omitempty" doc:"Taken and not used"`
}

// Part of a message.
type Part struct {
	Type       string      `json:"type" enum:"text,input_audio,audio_url"`
	Text       string      `json:"text,omitempty"`
	InputAudio *InputAudio `json:"input_audio,omitempty"`
	AudioURL   *AudioURL   `json:"audio_url,omitempty" doc:"As vLLM has it"`
}

// InputAudio is audio in a request.
type InputAudio struct {
	Data   string `json:"data" doc:"The file in base64" contentEncoding:"base64"`
	Format string `json:"format" enum:"wav,mp3"`
}

// AudioURL is audio that the gateway downloads.
type AudioURL struct {
	URL string `json:"url" doc:"http or https URL on the public internet"`
}

// StreamOptions of a streamed answer.
type StreamOptions struct {
	IncludeUsage       bool  `json:"include_usage,omitempty" doc:"One more chunk with the usage, before [DONE]"`
	IncludeObfuscation *bool `json:"include_obfuscation,omitempty" doc:"Taken; chunks are never padded"`
}

// ResponseFormat says what form the answer has.
type ResponseFormat struct {
	Type       string      `json:"type" enum:"text,json_schema"`
	JSONSchema *JSONSchema `json:"json_schema,omitempty"`
}

// JSONSchema of an answer.
type JSONSchema struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Schema      json.RawMessage `json:"schema,omitempty"`
	Strict      *bool           `json:"strict,omitempty"`
}

// Completion is a whole answer.
type Completion struct {
	ID      string   `json:"id" doc:"chatcmpl- and the id of the job"`
	Object  string   `json:"object" enum:"chat.completion"`
	Created int64    `json:"created" doc:"Unix seconds"`
	Model   string   `json:"model"`
	Choices []Choice `json:"choices"`
	Usage   Usage    `json:"usage"`
	// SystemFingerprint is the digest of the model.
	SystemFingerprint string `json:"system_fingerprint,omitempty" doc:"Digest of the model that answered"`
}

// Choice is the one answer of a completion.
type Choice struct {
	Index        int     `json:"index"`
	Message      Reply   `json:"message"`
	Logprobs     *string `json:"logprobs" doc:"Always null"`
	FinishReason string  `json:"finish_reason" enum:"stop,length"`
}

// Reply is the model's message.
type Reply struct {
	Role    string  `json:"role" enum:"assistant"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal" doc:"Always null"`
}

// Chunk is a piece of a streamed answer.
type Chunk struct {
	ID                string        `json:"id"`
	Object            string        `json:"object" enum:"chat.completion.chunk"`
	Created           int64         `json:"created"`
	Model             string        `json:"model"`
	Choices           []ChunkChoice `json:"choices" doc:"Empty in the chunk with the usage"`
	Usage             *Usage        `json:"usage,omitempty"`
	SystemFingerprint string        `json:"system_fingerprint,omitempty"`
}

// ChunkChoice is new text of the answer.
type ChunkChoice struct {
	Index        int     `json:"index"`
	Delta        Delta   `json:"delta"`
	Logprobs     *string `json:"logprobs" doc:"Always null"`
	FinishReason *string `json:"finish_reason" enum:"stop,length"`
}

// Delta is what is new.
type Delta struct {
	Role    string `json:"role,omitempty"`
	Content string `json:"content,omitempty"`
}

// Usage is what a completion has cost, with the answers about single windows that a combined answer is made of.
type Usage struct {
	PromptTokens        int64             `json:"prompt_tokens"`
	CompletionTokens    int64             `json:"completion_tokens"`
	TotalTokens         int64             `json:"total_tokens"`
	PromptTokensDetails PromptDetails     `json:"prompt_tokens_details"`
	CompletionDetails   CompletionDetails `json:"completion_tokens_details"`
}

// PromptDetails divide the tokens of the prompt.
type PromptDetails struct {
	AudioTokens  int64 `json:"audio_tokens" doc:"Frames of audio that the decoder read"`
	CachedTokens int64 `json:"cached_tokens" doc:"Always 0: tokens are counted as if nothing had been kept"`
}

// CompletionDetails divide the tokens of the answer.
type CompletionDetails struct {
	ReasoningTokens int64 `json:"reasoning_tokens" doc:"Tokens of the windows' answers of which the answer was made"`
}
