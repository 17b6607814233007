"""LLark's second half: a projector and a decoder learn to answer questions about a frozen encoder's frames. docs/training.md tells how."""
