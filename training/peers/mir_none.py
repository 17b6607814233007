"""Make clips that are no music, for the judge of the content: python -m peers.mir_none OUT, from training/. Noise, hum, clicks and espeak-ng's speech."""

from __future__ import annotations

import glob
import json
import os
import random
import subprocess
import sys
import zlib

WORDS = """time person year way day thing man world life hand part child eye woman place work week case point government company number group
problem fact be have do say get make go know take see come think look want give use find tell ask seem feel try leave call good new first
last long great little own other old right big high different small large next early young important few public bad same able""".split()
VOICES = ["en-us", "en-gb", "en-gb-scotland", "de", "fr", "es", "it", "en-us+f3", "en-us+m4", "en-gb+f2", "de+f4", "pt"]
KINDS = {"white": "noise", "brown": "noise", "clicks": "noise", "hum": "tone"}


def speak(out: str, rng: random.Random, voice: str) -> None:
    """Write 12 to 25 s of random words."""
    text = " ".join(rng.choice(WORDS) + ("." if k % 11 == 10 else "") for k in range(70))
    raw = out + ".raw.wav"
    subprocess.run(["espeak-ng", "-v", voice, "-s", str(rng.randint(120, 190)), "-p", str(rng.randint(20, 80)), "-w", raw, text], check=True)
    subprocess.run(["sox", "-G", raw, "-r", "44100", "-c", "1", "-b", "16", out, "trim", "0", str(rng.randint(12, 25))], check=True, stderr=subprocess.DEVNULL)
    os.remove(raw)


def main() -> None:
    out, rng = sys.argv[1], random.Random(5)
    noise, speech = os.path.join(out, "noise"), os.path.join(out, "speech")
    os.makedirs(speech, exist_ok=True)
    subprocess.run([sys.executable, "-m", "nano.generate", noise, "--split", "noise", "--count", "40", "--seed", "79"], check=True)
    for i in range(36):
        speak(os.path.join(speech, f"s{i:02}.wav"), rng, VOICES[i % len(VOICES)])
    with open(os.path.join(out, "set.jsonl"), "w", encoding="ascii") as f:
        for path in sorted(glob.glob(os.path.join(out, "*", "*.wav"))):
            name = os.path.relpath(path, out)
            kind = "speech"
            if name.startswith("noise"):
                kind = KINDS.get(json.load(open(path[:-4] + ".json", encoding="ascii"))["noise"])
            if kind:
                split = "dev" if zlib.crc32(name.encode()) % 2 else "test"
                f.write(json.dumps({"id": name, "audio": name, "set": "none", "split": split, "labels": {"content": kind}}) + "\n")


if __name__ == "__main__":
    main()
