"""Make the few clips of the smoke run without soundfonts or other programs: python -m nano.toy OUT"""

from __future__ import annotations

import os
import random
import sys

import numpy as np
from scipy import signal

from . import arrange, midi, nomusic, wavetable
from .generate import SPAN, heard, write_clip, write_manifest
from .labels import TONICS
from .synth import RATE

CLIPS = {"train": 20, "dev": 6, "test": 6}
SOUNDS = ["silence", "white", "hum", "wind", "sine", "beeps"]


def music(rng: random.Random) -> tuple[np.ndarray, dict]:
    """Return a piece through the wavetables, with its label."""
    piece = arrange.write_piece(rng, "train", SPAN + 1)
    quarter = piece.quarter_seconds
    found = [midi.Sounding(n.at * quarter, (n.at + n.length) * quarter, p.family, n.velocity) for p in piece.parts for n in p.notes]
    families, drums, steps = heard(found)
    half = wavetable.render(piece.parts, quarter, SPAN, np.random.default_rng(rng.randrange(2**32)), 0.0)
    x = signal.resample_poly(half, 2, 1)
    label = {"tempo_bpm": piece.tempo, "key": TONICS[piece.tonic], "mode": piece.mode, "metre": piece.metre, "families": families, "drums": drums, "steps": steps, "chords": []}
    return (x / np.abs(x).max() * 30000).astype(np.int16), label


def main() -> None:
    out = sys.argv[1]
    for split, count in CLIPS.items():
        os.makedirs(os.path.join(out, split), exist_ok=True)
        for i in range(count):
            write_clip(os.path.join(out, split, f"{split}{i:05d}"), *music(random.Random(f"toy-{split}-{i}")))
        write_manifest(os.path.join(out, split))
    os.makedirs(os.path.join(out, "noise"), exist_ok=True)
    for i, kind in enumerate(SOUNDS):
        rng = random.Random(kind)
        x = nomusic.sound(kind, rng, np.random.default_rng(i), int(4 * RATE))
        pcm = (x / max(1e-9, np.abs(x).max()) * 20000).astype(np.int16)
        write_clip(os.path.join(out, "noise", kind), pcm, {"music": False, "noise": kind, "sound": nomusic.KINDS[kind]})


if __name__ == "__main__":
    main()
