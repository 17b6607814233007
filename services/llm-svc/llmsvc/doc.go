// Package llmsvc is the facade of llm-svc: it answers questions about windows from their soft prompts. It reads lark.prompts.v1 and writes
// lark.answers.v1, and tokens to lark.events.v1.
package llmsvc
