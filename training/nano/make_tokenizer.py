"""Write tokenizer.json and its golden cases: python -m nano.make_tokenizer TOKENIZER_JSON CASES_JSON."""

from __future__ import annotations

import json
import sys

from .questions import all_texts
from .tokenizer import Tokenizer, make_vocab, to_json

AWKWARD = [
    b"What is the tempo of this piece?", b"  What's\tthe\n BPM??  ", b"", b" \t\r\n\v\f ", b"120bpm 39 40 220 221 1200 0120", b"F# minor or Gb major, f#m",
    b"</s><s><a> <pad><0x41> <audio_start>", "Wie schnell ist das St\u00fcck? \u00c4\u00d6\u00dc \u00df".encode(), "caf\u00e9 cafe\u0301".encode(),
    "\u6771\u4eac \U0001f3b5\U0001f3b8 \u0130I\u0131".encode(), "\u2581tempo\u2581\u2581key".encode(), b"\xff\xfe broken \xe2\x96 utf-8 \xc3", b"\x00\x01null\x7f",
    b"a" * 70, b"supercalifragilisticexpialidocious", b"3/4 4/4 6/8 12/8", b"don't can't it's I'm", b"TEMPO,KEY;METRE:drums(yes)\"no\"", "no\u00a0break\u2003space".encode(),
    b"is there a piano in this song, or a guitar?", b"....!!!???---", b"x\xe2\x96\x81y", b"who is the artist and what year is it from",
]  # fmt: skip


def cases(tok: Tokenizer) -> list[dict]:
    """Return the golden cases: bytes, ids and what the ids decode to."""
    out = []
    for raw in AWKWARD:
        ids = tok.encode(raw)
        out.append({"text": raw.decode(errors="replace"), "hex": raw.hex(), "ids": ids, "decoded": tok.decode(ids)})
    return out


def main() -> None:
    asks, says = all_texts()
    vocab = make_vocab(asks + says)
    with open(sys.argv[1], "w", encoding="utf-8") as f:
        f.write(to_json(vocab) + "\n")
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        json.dump(cases(Tokenizer(vocab)), f, ensure_ascii=False, indent=1)


if __name__ == "__main__":
    main()
