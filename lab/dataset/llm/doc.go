// Package llm asks a language model behind an OpenAI-compatible API for pairs of question and answer about a clip.
package llm
