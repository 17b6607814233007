package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
)

var partsType = reflect.TypeFor[[]Part]()

const (
	codeUnsupported = "unsupported_parameter"
	codeUnknown     = "unknown_parameter"
	codeInvalid     = "invalid_value"
	codeMissing     = "missing_required_parameter"
	// CodeModelNotFound is the code of the problem that an unknown model gets.
	CodeModelNotFound = "model_not_found"
)

// known are the parameters that a Request has; ignored change nothing here; unsupported are those of OpenAI that cannot be obeyed, with the values that
// mean the same as leaving them out.
var (
	known       = parameters()
	ignored     = []string{"safety_identifier", "prompt_cache_key", "prompt_cache_retention", "parallel_tool_calls"}
	unsupported = map[string][]string{
		"tools": nil, "functions": nil, "logprobs": nil, "top_logprobs": nil, "logit_bias": nil, "audio": nil, "prediction": nil, "web_search_options": nil,
		"reasoning_effort": nil, "verbosity": nil, "presence_penalty": nil, "frequency_penalty": nil, "stop": nil, "store": nil, "moderation": nil,
		"n": {"1"}, "modalities": {`["text"]`}, "tool_choice": {`"none"`, `"auto"`}, "function_call": {`"none"`, `"auto"`}, "service_tier": {`"auto"`, `"default"`},
	}
	neutral = []string{"null", "false", "0", "0.0", `""`, "[]", "{}"}
)

func parameters() (names []string) {
	for f := range reflect.TypeFor[Request]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// Parse reads a request without its audio, as Split returns it. Its errors are *client.Problem.
func Parse(raw []byte) (*Request, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, notJSON(err)
	}
	for name, value := range fields {
		same, refused := unsupported[name]
		switch {
		case refused && !meansNothing(value, same):
			return nil, invalid(name, codeUnsupported, "%s is not supported: leave it out", name)
		case refused, slices.Contains(ignored, name), slices.Contains(known, name):
		default:
			return nil, invalid(strings.ToValidUTF8(name[:min(len(name), maxKey)], "?"), codeUnknown, "%.64q is not a parameter of a chat completion", name)
		}
	}
	req := &Request{}
	if err := json.Unmarshal(raw, req); err != nil {
		return nil, notJSON(err)
	}
	return req, nil
}

func meansNothing(value json.RawMessage, same []string) bool {
	var compact bytes.Buffer
	if err := json.Compact(&compact, value); err != nil {
		return false
	}
	return slices.Contains(neutral, compact.String()) || slices.Contains(same, compact.String())
}

func notJSON(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return invalid(wrong.Field, codeInvalid, "%s cannot be %s", wrong.Field, wrong.Value)
	}
	return malformed("the body is not JSON: %.200s", strings.ToValidUTF8(err.Error(), "?"))
}

// Asked is a request as a job.
type Asked struct {
	// Submission without audio, unless the request names it by URL.
	client.Submission
	// Audio is what Keep returned for the audio of the request, "" where it has none of its own.
	Audio string
}

// Ask makes a job of the request. Its errors are *client.Problem.
func (r *Request) Ask() (Asked, error) {
	asked := Asked{Submission: client.Submission{Plan: r.Plan, Spans: r.Spans, Metadata: r.Metadata}}
	if asked.Plan == "" && len(r.Spans) == 0 {
		asked.Plan = client.PlanAll
	}
	asked.Combine = true
	for _, step := range []func(*Asked) error{r.form, r.decode, r.streams, r.converse} {
		if err := step(&asked); err != nil {
			return Asked{}, err
		}
	}
	return asked, nil
}

func (r *Request) streams(*Asked) error {
	if r.StreamOptions != nil && !r.Stream {
		return invalid("stream_options", codeInvalid, "stream_options belong to stream: true")
	}
	return nil
}

func (r *Request) form(asked *Asked) error {
	f := r.ResponseFormat
	if f == nil || f.Type == "text" {
		return nil
	}
	const param = "response_format"
	if f.Type != "json_schema" {
		return invalid(param, codeUnsupported, "response_format %.40q is not supported: use text, or json_schema with the schema of tags", f.Type)
	}
	if f.JSONSchema == nil {
		return invalid(param+".json_schema", codeMissing, "response_format.json_schema is missing")
	}
	if len(f.JSONSchema.Schema) == 0 || string(f.JSONSchema.Schema) == "null" {
		if f.JSONSchema.Name == event.SchemaTags {
			asked.ResponseSchema = event.SchemaTags
			return nil
		}
	} else if sameSchema(f.JSONSchema.Schema, tags.JSONSchema()) {
		asked.ResponseSchema = event.SchemaTags
		return nil
	}
	return invalid(param+".json_schema.schema", codeUnsupported, "the answers of these models are held to one schema, that of tags: send components.schemas.Tags of /openapi.json, "+
		"or leave the schema out and name it %s", event.SchemaTags)
}

// sameSchema compares schemas without what does not change what they admit.
func sameSchema(a, b []byte) bool {
	var x, y map[string]any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	return reflect.DeepEqual(bare(x), bare(y))
}

func bare(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			if _, text := value.(string); !text || !slices.Contains([]string{"$schema", "$id", "title", "description"}, key) {
				out[key] = bare(value)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = bare(v[i])
		}
		return out
	}
	return v
}

func (r *Request) decode(asked *Asked) error {
	var d client.Decode
	limit := r.MaxCompletionTokens
	if limit == nil {
		limit = r.MaxTokens
	}
	for name, n := range map[string]*int64{"max_completion_tokens": r.MaxCompletionTokens, "max_tokens": r.MaxTokens} {
		if n != nil && (*n < 1 || *n > 8192) {
			return invalid(name, codeInvalid, "%s must be 1 to 8192", name)
		}
	}
	if limit != nil {
		d.MaxTokens = uint32(*limit)
	}
	if r.Temperature != nil {
		t := float32(*r.Temperature)
		d.Temperature = &t
	}
	if r.TopP != nil {
		if !(*r.TopP > 0 && *r.TopP <= 1) {
			return invalid("top_p", codeInvalid, "top_p must be above 0 and at most 1; for greedy decoding, use temperature 0")
		}
		d.TopP = float32(*r.TopP)
	}
	if r.Seed != nil {
		if *r.Seed < 0 {
			return invalid("seed", codeInvalid, "seed must not be below 0")
		}
		d.Seed = uint64(*r.Seed)
	}
	if r.TopK != nil {
		if *r.TopK < 0 || *r.TopK > 1<<20 {
			return invalid("top_k", codeInvalid, "top_k must be 0 to 1048576")
		}
		d.TopK = uint32(*r.TopK)
	}
	if r.RepetitionPenalty != nil {
		if d.RepetitionPenalty = float32(*r.RepetitionPenalty); d.RepetitionPenalty == 0 {
			return invalid("repetition_penalty", codeInvalid, "repetition_penalty must be 0.1 to 10")
		}
	}
	if err := d.Validate(); err != nil {
		param := "repetition_penalty"
		if r.Temperature != nil && !(*r.Temperature >= 0 && *r.Temperature <= 10) {
			param = "temperature"
		}
		return invalid(param, codeInvalid, "%s is out of bounds: temperature is 0 to 10, repetition_penalty 0.1 to 10", param)
	}
	asked.Decode = &d
	return nil
}

// Named tells whether a caller's name of a model means the model of an id: the id, or the id without what comes behind the first space.
func Named(name, id string) bool {
	bare, _, _ := strings.Cut(id, " ")
	return name == id || name == bare
}

// converse takes the question, what was said before it, and the audio out of the messages.
func (r *Request) converse(asked *Asked) error {
	if len(r.Messages) == 0 {
		return invalid("messages", codeMissing, "messages are missing: the last one is the user's question")
	}
	var turns []event.Turn
	for i, m := range r.Messages {
		role := m.Role
		if role == "developer" {
			role = event.RoleSystem
		}
		param := fmt.Sprintf("messages[%d]", i)
		if !slices.Contains([]string{event.RoleSystem, event.RoleUser, event.RoleAssistant}, role) {
			return invalid(param+".role", codeUnsupported, "%s: role %.40q is not supported; roles are system, developer, user and assistant", param, m.Role)
		}
		if err := asked.hear(param, role, m.Content); err != nil {
			return err
		}
		text := m.Content.said()
		if n := len(turns); n > 0 && turns[n-1].Role == role { // several messages of one turn
			turns[n-1].Text = strings.TrimPrefix(turns[n-1].Text+"\n"+text, "\n")
			continue
		}
		turns = append(turns, event.Turn{Role: role, Text: text})
	}
	last := len(turns) - 1
	if turns[last].Role != event.RoleUser {
		return invalid("messages", codeInvalid, "the last message is of role %s; it must be the user's question", turns[last].Role)
	}
	if asked.Audio == "" && asked.AudioURL == "" {
		return invalid("messages", "audio_required", "the conversation has no audio: one message of the user needs a part input_audio (base64, wav or mp3) or audio_url")
	}
	switch question := strings.TrimSpace(turns[last].Text); {
	case question != "":
		asked.Questions = []string{question}
	case asked.ResponseSchema == "":
		return invalid("messages", "questions_required", "the last message has no text: it must ask something about the audio")
	}
	if last > 0 {
		turns = turns[:last]
		asked.History = &turns
	}
	return nil
}

// hear takes the audio out of a message. All audio of a conversation is one track.
func (a *Asked) hear(param, role string, parts Content) error {
	for i, p := range parts {
		at := fmt.Sprintf("%s.content[%d]", param, i)
		switch {
		case p.Type == partText:
		case role == event.RoleUser && p.Type == partAudio:
			if p.InputAudio == nil || p.InputAudio.Data == "" {
				return invalid(at+".input_audio.data", codeMissing, "%s has no input_audio.data", at)
			}
			if f := p.InputAudio.Format; f != "wav" && f != "mp3" {
				return invalid(at+".input_audio.format", codeInvalid, "%s: format %.40q is not wav or mp3", at, f)
			}
			if a.AudioURL != "" || a.Audio != "" && a.Audio != p.InputAudio.Data {
				return errTracks(at)
			}
			a.Audio = p.InputAudio.Data
		case role == event.RoleUser && p.Type == partURL:
			if p.AudioURL == nil || p.AudioURL.URL == "" {
				return invalid(at+".audio_url.url", codeMissing, "%s has no audio_url.url", at)
			}
			if a.Audio != "" || a.AudioURL != "" && a.AudioURL != p.AudioURL.URL {
				return errTracks(at)
			}
			a.AudioURL = p.AudioURL.URL
		default:
			return invalid(at+".type", codeUnsupported, "%s: a part %.40q of the %s is not supported; the user's parts are text, input_audio and audio_url, all others are text", at, p.Type, role)
		}
	}
	return nil
}

// errTracks refuses a second track.
func errTracks(param string) error {
	return invalid(param, codeInvalid, "%s is another track: a conversation is about one track, whose audio may come again", param)
}
