// Package projectorsvc is the facade of projector-svc: it turns embeddings into soft prompts. It reads lark.embeddings.v1 and writes
// lark.prompts.v1.
package projectorsvc
