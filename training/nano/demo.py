"""Render an MMA piece to mp3 and print its labels: python -m nano.demo PIECE.mma OUT.mp3 [--soundfont fluidr3]."""

from __future__ import annotations

import argparse
import collections
import os
import subprocess
import sys
import tempfile

from . import midi
from .labels import family
from .synth import SOUNDFONTS, Synth, write_wav

TAIL = 2.5  # seconds of decay after the last note starts


def main() -> int:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("piece")
    args.add_argument("out")
    args.add_argument("--soundfont", choices=SOUNDFONTS, default="fluidr3")
    a = args.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mid, wav = os.path.join(folder, "piece.mid"), os.path.join(folder, "piece.wav")
        subprocess.run(["mma", "-w", a.piece, "-f", mid], check=True, capture_output=True)
        with open(mid, "rb") as f:
            score = midi.parse(f.read())
        notes = midi.notes(score)
        seconds = max(n.seconds for n in notes) + TAIL
        write_wav(wav, Synth(a.soundfont).render(bytes(score.raw), 0.0, seconds))
        encode = ["-codec:a", "libmp3lame", "-b:a", "96k", "-map_metadata", "-1"]
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", wav, *encode, a.out], check=True)
    heard = collections.Counter("drums" if n.channel == midi.DRUM_CHANNEL else family(n.program) for n in notes)
    print(f"{seconds:.1f} s, tempi {midi.tempi(score)}, notes {dict(heard)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
