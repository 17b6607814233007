// Package openai speaks the form in which OpenAI's clients ask and are answered: chat completions about audio, models, and errors. It makes jobs of
// requests and completions of outcomes, and knows nothing of how jobs are done.
// https://platform.openai.com/docs/api-reference
package openai
