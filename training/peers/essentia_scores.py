"""Score Essentia on the labelled clips of `nano.generate`: python essentia_scores.py DIR/manifest.jsonl.

Needs `pip install essentia numpy`. Tempo: RhythmExtractor2013 (multifeature and degara). Key: KeyExtractor with each profile given.
Prints one Markdown row per method, with the measures of `lark eval`.
"""

from __future__ import annotations

import json
import os
import sys

import essentia
import essentia.standard as es

TONICS = {n: i for i, names in enumerate(["C", "C# Db", "D", "D# Eb", "E", "F", "F# Gb", "G", "G# Ab", "A", "A# Bb", "B"]) for n in names.split()}
OCTAVES = (1, 2, 1 / 2, 3, 1 / 3)
PROFILES = ("bgate", "edma", "temperley")


def mirex(got: tuple[int, str], want: tuple[int, str]) -> float:
    """Return the MIREX weight of a key answer."""
    (a, m), (b, n) = got, want
    if got == want:
        return 1.0
    if m == n and (a - b) % 12 in (5, 7):
        return 0.5
    if m != n and a == (b + (9 if n == "major" else 3)) % 12:
        return 0.3
    return 0.2 if a == b else 0.0


def main() -> None:
    manifest = sys.argv[1]
    clips = [json.loads(line) for line in open(manifest)]
    essentia.log.warningActive = essentia.log.infoActive = False
    tempo = {m: [0, 0] for m in ("multifeature", "degara")}
    key = {p: [0, 0.0] for p in PROFILES}
    for clip in clips:
        audio = es.MonoLoader(filename=os.path.join(os.path.dirname(manifest), clip["file"]), sampleRate=44100)()
        for method, score in tempo.items():
            ratio = es.RhythmExtractor2013(method=method)(audio)[0] / clip["tempo_bpm"]
            score[0] += abs(ratio - 1) < 0.04
            score[1] += any(abs(ratio / f - 1) < 0.04 for f in OCTAVES)
        for profile, score in key.items():
            tonic, mode, _ = es.KeyExtractor(profileType=profile)(audio)
            weight = mirex((TONICS[tonic], mode), (TONICS[clip["key"]], clip["mode"]))
            score[0] += weight == 1
            score[1] += weight
    n = len(clips)
    for method, (one, two) in tempo.items():
        print(f"| Essentia {essentia.__version__}, RhythmExtractor2013 {method} | {one / n:.3f} | {two / n:.3f} | | |")
    for profile, (exact, weighted) in key.items():
        print(f"| Essentia {essentia.__version__}, KeyExtractor {profile} | | | {exact / n:.3f} | {weighted / n:.3f} |")


if __name__ == "__main__":
    main()
