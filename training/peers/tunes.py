"""Write the tunes that people composed which nano.generate --tunes plays: python -m peers.tunes OUT.json, from training/, in an environment with music21.

One JSON object per line: {"name", "key", "mode", "metre", "pickup", "parts", "chords"}. Parts are lists of [at, length, keys] and chords of [at, length, root, keys], in
quarters; `pickup` is where the first whole bar begins. Sources are the folk tunes (Ryan's Mammoth Collection, O'Neill's 1850, Essen, Nottingham with chords) and
Bach's chorales of music21. Only pieces of the split dev of `mir_clips` are written, so that its test pieces stay unheard, and at most MOST of a metre.
"""

from __future__ import annotations

import collections
import json
import multiprocessing
import random
import sys

from .mir_clips import NAMES, flat, split_of

METRES = ("2/4", "3/4", "4/4", "6/8", "5/4", "7/8")
BAR = {"2/4": 2.0, "3/4": 3.0, "4/4": 4.0, "6/8": 3.0, "5/4": 5.0, "7/8": 3.5}
MOST = 320
FOLK = ("ryansMammoth", "oneills1850", "essenFolksong", "nottingham", "airdsAirs")
OF_A_FILE = 80  # tunes of one file, which may hold thousands
SHORTEST = 12  # quarters


def pickup_of(part, bar: float) -> float:
    """Return where the first whole bar begins."""
    measures = list(part.getElementsByClass("Measure"))
    return float(measures[1].offset) % bar if len(measures) > 1 else 0.0


def chord_symbols(part) -> list:
    """Return the chord symbols as [at, length, root, keys above the root]."""
    found = [c for c in part.flatten().notes if "ChordSymbol" in c.classes and c.pitches]
    ends = [float(c.offset) for c in found[1:]] + [float(part.flatten().highestTime)]
    return [
        [float(c.offset), end - float(c.offset), c.root().pitchClass, sorted({p.pitchClass for p in c.pitches})]
        for c, end in zip(found, ends) if end > float(c.offset)
    ]  # fmt: skip


def notes_of(part) -> list:
    """Return the notes of a part as [at, length, keys]."""
    return [[at, length, keys] for at, length, keys, _ in flat(part)]


def tune(score, name: str) -> dict | None:
    """Return a folk tune, None where its notation leaves key or metre open."""
    key = next(iter(score.flatten().getElementsByClass("KeySignature")), None)
    metres = {t.ratioString for t in score.flatten().getElementsByClass("TimeSignature")}
    if key is None or getattr(key, "mode", None) not in ("major", "minor") or len(metres) != 1 or (metre := metres.pop()) not in METRES:
        return None
    part = score.parts[0] if score.parts else score
    notes = notes_of(part)
    if not notes or notes[-1][0] < SHORTEST:
        return None
    return {
        "name": name, "key": NAMES[key.tonic.pitchClass], "mode": key.mode, "metre": metre, "pickup": pickup_of(part, BAR[metre]), "parts": [notes],
        "chords": chord_symbols(part),
    }  # fmt: skip


def chorale(score, name: str) -> dict | None:
    """Return a chorale whose last bass note and key signature agree on a key."""
    sharps = next(iter(score.flatten().getElementsByClass("KeySignature"))).sharps
    metres = {t.ratioString for t in score.flatten().getElementsByClass("TimeSignature")}
    bass = score.parts[-1].flatten().notes[-1].pitches[0].pitchClass
    major = sharps * 7 % 12
    mode = {major: "major", (major + 9) % 12: "minor"}.get(bass)
    if mode is None or len(metres) != 1 or (metre := metres.pop()) not in METRES:
        return None
    parts = [notes_of(p) for p in score.parts[:6]]
    return {"name": name, "key": NAMES[bass], "mode": mode, "metre": metre, "pickup": pickup_of(score.parts[0], BAR[metre]), "parts": [p for p in parts if p], "chords": []}


def of_file(path: str) -> list[dict]:
    """Return the pieces of a file that training may hear."""
    from music21 import converter

    base = path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    out = []
    try:
        parsed = converter.parse(path)
        if "/bach/" in path:
            return [c] if split_of(base) == "dev" and (c := chorale(parsed, f"chorale-{base}")) else []
        scores = list(parsed.scores) if "Opus" in parsed.classes else [parsed]
    except Exception as e:  # noqa: BLE001  (music21 refuses some pieces in many ways)
        print(f"left out {base}: {type(e).__name__}", flush=True)
        return []
    which = list(range(len(scores)))
    random.Random(base).shuffle(which)
    for i in which[:OF_A_FILE]:
        try:
            if split_of(base + str(i)) == "dev" and (t := tune(scores[i], f"tune-{base}-{i}")):
                out.append(t)
        except Exception as e:  # noqa: BLE001
            print(f"left out {base} {i}: {type(e).__name__}", flush=True)
    return out


def main() -> None:
    from music21 import corpus

    paths = [str(p) for p in corpus.getPaths(fileExtensions=("abc",)) if any(f in str(p) for f in FOLK)]
    paths += [str(p) for p in corpus.getPaths(fileExtensions=("mxl",)) if "/bach/bwv" in str(p)]
    random.Random(1).shuffle(paths)
    count: collections.Counter = collections.Counter()
    with multiprocessing.Pool(2) as pool, open(sys.argv[1], "w", encoding="ascii") as out:
        for found in pool.imap(of_file, paths, chunksize=4):
            for t in found:
                kind = (t["metre"], t["name"].split("-")[0])
                if count[kind] < MOST:
                    count[kind] += 1
                    out.write(json.dumps(t) + "\n")
    print(dict(count))


if __name__ == "__main__":
    main()
