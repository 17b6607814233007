"""The greedy tokenizer of docs/lark-nano.md, section 7, and the making of its vocabulary."""

from __future__ import annotations

import json
import re
import string

from .labels import MODES, TEMPO_MAX, TEMPO_MIN, TONICS

MARK = "▁"
SPECIAL = ["<pad>", "<s>", "</s>", "<audio_start>", "<audio_end>", "<q>", "<a>"]
FIRST_BYTE = len(SPECIAL)
FIRST_PIECE = FIRST_BYTE + 256
_SPACE = re.compile(rb"[\t\n\v\f\r ]+")
# Frequent English word parts, for words that are in no template.
FRAGMENTS = """th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me de hi ri ro ic ne ea ra ce li ch ll be ma si om ur
ing ion ent ter ation ever ough ight able ment ness less tion ally ould ment""".split()


class Tokenizer:
    """Encodes and decodes with a given vocabulary."""

    def __init__(self, vocab: list[str]):
        self.vocab = vocab
        self.id = {piece: i for i, piece in enumerate(vocab)}
        self._pieces = {piece.encode(): i for i, piece in enumerate(vocab) if i >= FIRST_PIECE}
        self._longest = max(map(len, self._pieces))

    def encode(self, text: str | bytes, lower: bool = True) -> list[int]:
        """Return the ids of user text, or with lower=False of an answer."""
        raw = text if isinstance(text, bytes) else text.encode()
        if lower:
            raw = raw.lower()  # bytes.lower changes A to Z only
        raw = b"".join(MARK.encode() + w for w in _SPACE.split(raw) if w)
        ids, at = [], 0
        while at < len(raw):
            for size in range(min(self._longest, len(raw) - at), 0, -1):
                if (found := self._pieces.get(raw[at : at + size])) is not None:
                    ids.append(found)
                    at += size
                    break
            else:
                ids.append(FIRST_BYTE + raw[at])
                at += 1
        return ids

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids."""
        out = b""
        for i in ids:
            if i >= FIRST_PIECE:
                out += self.vocab[i].encode()
            elif i >= FIRST_BYTE:
                out += bytes([i - FIRST_BYTE])
        return out.replace(MARK.encode(), b" ").removeprefix(b" ").decode(errors="replace")


def words_of(texts: list[str]) -> list[str]:
    """Return the distinct words and marks of punctuation of texts, words at a word start with the marker."""
    out = set()
    for text in texts:
        for word in text.split():
            core = re.fullmatch(r"(['\"(]*)(.*?)([.,?!:;)'\"]*)", word)
            if core.group(2):
                out.add(MARK + core.group(2))
    return sorted(out)


def make_vocab(texts: list[str]) -> list[str]:
    """Return a vocabulary for templates and answers: special tokens, bytes, then pieces."""
    pieces = list(string.printable[:94]) + [MARK]
    pieces += [MARK + c for c in string.ascii_lowercase + string.digits]
    pieces += [MARK + t for t in TONICS] + [MARK + t.lower() for t in TONICS]
    pieces += [f"{MARK}{t}{MARK}{m}" for t in TONICS for m in MODES] + [f"{MARK}{t.lower()}{MARK}{m}" for t in TONICS for m in MODES]
    pieces += [f"{MARK}{n}" for n in range(TEMPO_MIN, TEMPO_MAX + 1)]
    pieces += FRAGMENTS + [MARK + f for f in FRAGMENTS] + ["bpm", "'s", "'t", "'m", "/4"]
    pieces += words_of(texts)
    unique = list(dict.fromkeys(pieces))
    return SPECIAL + [f"<0x{b:02X}>" for b in range(256)] + unique


def to_json(vocab: list[str]) -> str:
    """Return tokenizer.json."""
    return json.dumps({"type": "greedy", "lowercase": True, "special": {s: i for i, s in enumerate(SPECIAL)}, "vocab": vocab}, ensure_ascii=False, indent=0)


def load(path: str) -> Tokenizer:
    """Read tokenizer.json."""
    with open(path, encoding="utf-8") as f:
        return Tokenizer(json.load(f)["vocab"])
