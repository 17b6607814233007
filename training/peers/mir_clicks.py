"""Make click tracks for the judge of the tempo: python -m peers.mir_clicks OUT, from training/. Bursts of noise or tones at 40 to 220 BPM, some with accents."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
from nano.synth import RATE, write_wav


def main() -> None:
    out, rng = sys.argv[1], np.random.default_rng(3)
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, "set.jsonl"), "w", encoding="ascii") as f:
        for i in range(60):
            bpm = float(np.round(np.exp(rng.uniform(np.log(45), np.log(210))), 2))
            length = int(rng.uniform(0.01, 0.08) * RATE)
            tone = np.sin(2 * np.pi * rng.uniform(300, 3000) * np.arange(length) / RATE) if i % 2 else rng.uniform(-1, 1, length)
            click = tone * np.exp(-np.arange(length) / (length / 4))
            x = rng.normal(0, 1e-4, 25 * RATE)
            accent = int(rng.choice([0, 0, 2, 3, 4]))
            for k, at in enumerate(np.arange(rng.uniform(0, 1), 24.8, 60 / bpm)):
                a = int(at * RATE)
                x[a : a + length] += click[: len(x) - a] * (0.8 if accent and k % accent == 0 else 0.4)
            name = f"clicks{i:02}.wav"
            write_wav(os.path.join(out, name), (np.clip(x, -1, 1) * 32767).astype(np.int16))
            f.write(json.dumps({"id": name, "audio": name, "set": "clicks", "split": "dev", "labels": {"tempo_bpm": bpm}}) + "\n")


if __name__ == "__main__":
    main()
