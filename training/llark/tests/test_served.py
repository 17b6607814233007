"""What is exported is imported by lark and answers in Go with the trainer's own greedy tokens. Needs bin/lark and llama.cpp's libraries (make build native)."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from llark import data, export, toy, train
from llark.tokens import STOP

ROOT = Path(__file__).parents[3]
LARK = os.environ.get("LARK", str(ROOT / "bin/lark"))
NATIVE = os.environ.get("LARK_NATIVE_DIR", str(ROOT / "bin/native/cpu"))


def lark(*args, **env):
    done = subprocess.run([LARK, *map(str, args)], env=os.environ | {"LARK_NATIVE_DIR": NATIVE} | env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{args}: {done.stdout} {done.stderr}"
    return done.stdout


@pytest.mark.skipif(not os.path.exists(LARK) or not os.path.isdir(NATIVE), reason="make build native")
def test_answers_are_the_trainers_own(tmp_path):
    music, song, nano = tmp_path / "music", tmp_path / "music" / "song.mp3", ROOT / "models/lark-nano"
    music.mkdir()
    song.write_bytes((ROOT / "models/demo/larksong.mp3").read_bytes())
    (music / "licence.txt").write_text("Apache-2.0\n")
    tempo = tmp_path / "set"
    lark("dataset", "import", "folder", "--from", music, "--out", tempo)
    lark("dataset", "annotate", tempo)
    lark("dataset", "generate", tempo)
    lark("dataset", "encode", tempo, "--model", nano)
    lark("dataset", "split", tempo, "--validation", 0, "--test", 0)
    lark("dataset", "export", tempo, "--out", tmp_path / "shards")

    shards = data.Shards(str(tmp_path / "shards"), "train")
    decoder = str(tmp_path / "toy")
    toy.write(decoder, [t for p in shards.pairs for t in (p.question, p.answer)], 150, 64, 2, 4, 1)
    train.main(["--decoder", decoder, "--shards", str(tmp_path / "shards"), "--out", str(tmp_path / "run"), "--train", "all", "--precision", "f32", "--steps", "25",
                "--batch", "4", "--micro", "4", "--lr", "0.01", "--validate-every", "1000", "--save-every", "1000"])  # fmt: skip
    net, prompts = export.restore(str(tmp_path / "run"), decoder)
    export.write(net, prompts, decoder, str(tmp_path / "hf"), "f32")
    lark("model", "import", "llama", "--hf", tmp_path / "hf", "--encoder", nano, "--out", tmp_path / "llark", "--quant", "f32")

    frames = shards.frames(shards.pairs[0])
    for p in shards.pairs[:3]:
        ids = prompts.prompt(p.question, frames.shape[0])
        with torch.no_grad():
            got = net.answer(ids, ids.index(net.start) + 1, frames, 40, lambda t: STOP in prompts.tokenizer.decode(t))
        # The window that lark hears is the clip: the first 25 s of a track below a minute.
        out = lark("--data", tmp_path / "data", "ask", song, p.question, "--json", LARK_MODEL_DIR=str(tmp_path / "llark"))
        answers = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        assert prompts.decode(got) and answers[-1]["answer"] == prompts.decode(got), p.question
