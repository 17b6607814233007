"""Conversations in token ids, as the families' own chat templates and tokenizers make them: python turns.py GOLDEN > turns.json

Needs tokenizers 0.22 and Jinja2. GOLDEN is the folder of the golden data (engine/model/audiobundle/audiotest/testdata). The one placeholder of the
audio stands for all of its frames. Music Flamingo's processor, not its template, puts the delimiters around the audio.
"""

import json
import sys
from pathlib import Path

from jinja2 import Environment
from tokenizers import Tokenizer

PLACEHOLDERS = {"qwen2_5_omni": "<|AUDIO|>", "audioflamingo3": "<sound>", "musicflamingo": "<sound>", "qwen2_audio": "<|AUDIO|>"}
LONG = "Describe this track: genre, tempo, key, instruments and mood."
TURNS = {
    "question": [("user", LONG)],
    "follow-up": [("user", "What is the tempo?"), ("assistant", "It is 120 BPM, I think."), ("user", "And the key?")],
    "white space": [("user", "  Metre? \n"), ("assistant", "\n\n4/4."), ("user", "Sure?"), ("assistant", " Yes  "), ("user", LONG)],
    "system": [("system", "Answer in one word."), ("user", "Tempo?"), ("assistant", "Fast."), ("user", "Key?")],
}


def main(golden: Path) -> None:
    """Print the ids of every conversation with every family."""
    out = {}
    for family, placeholder in PLACEHOLDERS.items():
        folder = golden / family / "hf"
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        environment = Environment(trim_blocks=True, lstrip_blocks=True)
        template = environment.from_string((folder / "chat_template.jinja").read_text())
        out[family] = {}
        for name, turns in TURNS.items():
            messages, heard = [], False
            for role, text in turns:
                content = text
                if role == "user" and not heard:
                    content, heard = [{"type": "audio"}, {"type": "text", "text": text}], True
                messages.append({"role": role, "content": content})
            text = template.render(messages=messages, add_generation_prompt=True)
            if family == "musicflamingo":
                text = text.replace("<sound>", "<|sound_bos|><sound><|sound_eos|>", 1)
            out[family][name] = {
                "turns": [{"role": role, "text": said} for role, said in turns],
                "placeholder": tokenizer.token_to_id(placeholder),
                "ids": tokenizer.encode(text, add_special_tokens=False).ids,
            }
    print(json.dumps(out, ensure_ascii=False))


main(Path(sys.argv[1]))
