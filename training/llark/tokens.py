"""The prompt in tokens, exactly as it is served.

LLark's slow tokenizer strips white space on both sides of added tokens, so the model never saw a space before <audio_start> nor a newline behind
<audio_end>, and the text behind an added token begins with a word's mark again. `lark` serves it so too (prompt.whitespace: trained).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from tokenizers import Tokenizer

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
PAD, PATCH, START, END = ADDED = ["[PAD]", "<audio_patch>", "<audio_start>", "<audio_end>"]  # in the order of the release
STOP = "###"
IGNORE = -100


@dataclass
class Example:
    """One pair in tokens: labels are IGNORE but for the answer and its end; frames stand at audio .. audio + frames."""

    ids: list[int]
    labels: list[int]
    audio: int
    frames: int


class Prompts:
    """Turns questions and answers into tokens. Ids of added tokens are those of the tokenizer, or follow its last one."""

    def __init__(self, folder: str) -> None:
        self.tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        known = self.tokenizer.get_vocab()
        path = os.path.join(folder, "added_tokens.json")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                known |= json.load(f)
        self.bos = known.get("<s>", -1)  # Qwen2 has none
        self.size = max(known.values()) + 1
        self.added: dict[str, int] = {}
        for name in ADDED:
            self.added[name] = known.get(name, self.size)
            self.size = max(self.size, self.added[name] + 1)

    def text(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def before_audio(self) -> list[int]:
        return ([self.bos] if self.bos >= 0 else []) + self.text(f"{SYSTEM}\n\n### Human:") + [self.added[START]]

    def prompt(self, question: str, frames: int) -> list[int]:
        """The prompt as it is served, audio first: it ends behind the colon."""
        head = self.before_audio() + [self.added[PATCH]] * frames + [self.added[END]]
        return head + self.text(f"{question.strip()}\n### Assistant:")

    def example(self, question: str, answer: str, frames: int, audio_first: bool = True) -> Example:
        """A pair as it is trained. Only the answer and the mark that ends it have labels; white space between is part of their tokens."""
        question, answer = question.strip(), answer.strip()
        if audio_first:
            head = self.before_audio()
            audio = len(head)
            head += [self.added[PATCH]] * frames + [self.added[END]]
            asked = f"{question}\n### Assistant:"
        else:
            head = ([self.bos] if self.bos >= 0 else []) + self.text(f"{SYSTEM}\n\n### Human: {question}") + [self.added[START]]
            audio = len(head)
            head += [self.added[PATCH]] * frames + [self.added[END]]
            asked = "### Assistant:"
        prompt = head + self.text(asked)
        ids = head + self.text(f"{asked} {answer}\n{STOP}")
        if ids[: len(prompt)] != prompt:
            raise ValueError(f"the answer {answer[:40]!r} runs into the prompt: its tokens are not those that are served")
        return Example(ids, [IGNORE] * len(prompt) + ids[len(prompt) :], audio, frames)

    def decode(self, ids: list[int]) -> str:
        """The answer's text up to its end."""
        return self.tokenizer.decode(ids, skip_special_tokens=True).split(STOP)[0].strip()
