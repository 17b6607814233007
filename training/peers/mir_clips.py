"""Make the clips of `make bench-mir`: python -m peers.mir_clips OUT [--seed S], from training/, in an environment with numpy and music21.

OUT/set.jsonl gets one object per clip: {"id", "audio", "set", "split", "labels": {"tempo_bpm", "key", "metre"}}; a label that is not known
for certain is left out. Human clips have the instruments and drums of their first 25 s too. Pieces fall into the splits dev and test by a checksum of the
piece's name, so all clips of a piece share a split.

human   MIDI files of Debian's openttd-openmsx and planetblupi-music-midi, 30 s from seconds 5 and 45. Tempo is the file's own; the key
        is left out unless Krumhansl's and Temperley's profiles and the Aarden-Essen profile agree on the notes that sound.
tunes   Ryan's Mammoth Collection (unaccompanied) and the Nottingham collection (tune and chords) as music21 distributes them; key
        and metre are the editors', tempo is drawn.
chorale Bach's chorales in music21; the key is the last bass note's where the key signature allows it, tempo is drawn.
lmms    demonstration projects of Debian's lmms-common, which lmms renders (packages lmms and lmms-common), 30 s from seconds 5 and 45. The tempo
        is the project's; projects that change it are left out.
"""

from __future__ import annotations

import argparse
import collections
import glob
import json
import os
import random
import re
import subprocess
import tempfile
import zlib

import numpy as np
from nano import midi
from nano.generate import MIN_NOTES
from nano.generate import SPAN as HEARD
from nano.labels import FAMILIES, family
from nano.synth import RATE, Synth, write_wav

SPAN = 30.0
NAMES = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]
FONTS = ["fluidr3", "timgm6mb"]
HUMAN = ["/usr/share/games/openttd/baseset/openmsx/*.mid", "/usr/share/planetblupi/music/*.mid"]
LMMS = "/usr/share/lmms/projects/**/*.mmp*"
MELODY = [0, 6, 22, 24, 40, 56, 65, 68, 71, 73, 74, 79]
CHORAL = [0, 19, 48, 52, 60, 70]
# Krumhansl and Kessler 1982; Temperley 1999; Aarden 2003.
PROFILES = [
    ([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88], [6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17]),
    ([5, 2, 3.5, 2, 4.5, 4, 2, 4.5, 2, 3.5, 1.5, 4], [5, 2, 3.5, 4.5, 2, 4, 2, 4.5, 3.5, 2, 1.5, 4]),
    ([17.77, 0.15, 14.93, 0.16, 19.80, 11.36, 0.29, 22.06, 0.15, 8.15, 0.23, 4.95], [18.26, 0.74, 14.05, 16.86, 0.70, 14.44, 0.70, 18.62, 4.57, 1.93, 7.38, 1.76]),
]  # fmt: skip


def split_of(name: str) -> str:
    """Return the split of a piece."""
    return "dev" if zlib.crc32(name.encode()) % 2 else "test"


def best_keys(weights: np.ndarray) -> set[str]:
    """Return the best key of each set of profiles."""
    out = set()
    for major, minor in PROFILES:
        scored = [(np.corrcoef(weights, np.roll(p, t))[0, 1], NAMES[t] + suffix) for p, suffix in ((major, " major"), (minor, " minor")) for t in range(12)]
        out.add(max(scored)[1])
    return out


def file_tempi(score: midi.Score) -> list[tuple[float, float]]:
    """Return (seconds, BPM) of every tempo of the file."""
    seconds, tick, per = 0.0, 0, 0.5
    tempi = []
    for e in score.events:
        seconds += (e.tick - tick) / score.division * per
        tick = e.tick
        if e.kind == midi._TEMPO:
            per = int.from_bytes(e.data, "big") / 1e6
            tempi.append((seconds, 60 / per))
    return tempi or [(0.0, 120.0)]


def instruments(notes: list[midi.Note]) -> dict:
    """Return the labels of what plays: families, and whether there are drums."""
    count = collections.Counter("drums" if n.channel == midi.DRUM_CHANNEL else family(n.program) for n in notes)
    return {"instruments": [f for f in FAMILIES if count[f] >= MIN_NOTES], "drums": count["drums"] >= MIN_NOTES}


def human(rng: random.Random, synths: dict[str, Synth]):
    """Yield clips of the human-composed MIDI files."""
    for path in sorted(p for pattern in HUMAN for p in glob.glob(pattern)):
        name = os.path.basename(path)[:-4]
        raw = open(path, "rb").read()
        score = midi.parse(raw)
        notes = midi.notes(score)
        end = max((n.seconds for n in notes), default=0)
        tempi = file_tempi(score)
        for place in (5.0, 45.0):
            start = max(0.0, min(place, end - SPAN))
            inside = [n for n in notes if start <= n.seconds < start + SPAN and n.velocity > 0]
            pitched = np.zeros(12)
            for n in inside:
                if n.channel != midi.DRUM_CHANNEL:
                    pitched[n.key % 12] += n.velocity
            if len(inside) < 30:
                continue
            labels = instruments([n for n in inside if n.seconds < start + HEARD])
            before = [b for t, b in tempi if t <= start][-1:] or [tempi[0][1]]
            heard = before + [b for t, b in tempi if start < t < start + SPAN]
            if max(heard) / min(heard) < 1.02:
                labels["tempo_bpm"] = round(float(np.mean(heard)), 2)
            if pitched.sum() and len(keys := best_keys(pitched)) == 1:
                labels["key"] = keys.pop()
            yield f"human-{name}-{int(place)}", "human", split_of(name), labels, synths[rng.choice(list(synths))].render(raw, start, SPAN)


def render_score(parts: list, rng: random.Random, bpm: float, programs: list[int], synths: dict[str, Synth]) -> np.ndarray:
    """Return the audio of flat lists of (quarter offset, quarters, keys, velocity), one per part, at bpm quarters a minute."""
    events = []
    for channel, part in enumerate(parts):
        for at, length, keys, velocity in part:
            for k in keys:
                events.append((round(at * 480), 1, bytes([0x90 | channel, k, velocity])))
                events.append((round((at + length * 0.95) * 480), 0, bytes([0x80 | channel, k, 0])))
    events.sort(key=lambda e: (e[0], e[1]))
    track = b"\0\xff\x51\3" + int(60e6 / bpm).to_bytes(3, "big")
    for channel in range(len(parts)):
        track += bytes([0, 0xC0 | channel, programs[channel % len(programs)]])
    tick = 0
    for at, _, data in events:
        track += _varlen(at - tick) + data
        tick = at
    track += b"\0\xff\x2f\0"
    raw = b"MThd" + (6).to_bytes(4, "big") + (0).to_bytes(2, "big") + (1).to_bytes(2, "big") + (480).to_bytes(2, "big")
    raw += b"MTrk" + len(track).to_bytes(4, "big") + track
    seconds = min(SPAN, tick / 480 * 60 / bpm + 1)
    return synths[rng.choice(list(synths))].render(raw, 0.0, seconds)


def _varlen(value: int) -> bytes:
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(value & 0x7F | 0x80)
    return bytes(reversed(out))


def flat(part, velocity: int = 90) -> list:
    """Return the sounding notes of a music21 part, chord symbols left out."""
    out = []
    for n in part.stripTies().flatten().notes:
        if "ChordSymbol" not in n.classes and n.duration.quarterLength > 0:
            out.append((float(n.offset), float(n.duration.quarterLength), [p.midi for p in n.pitches], velocity))
    return out


def symbols(part) -> list:
    """Return the chord symbols of a part as sounding chords."""
    found = [c for c in part.flatten().notes if "ChordSymbol" in c.classes and c.pitches]
    end = float(part.flatten().highestTime)
    out = []
    for c, after in zip(found, [float(c.offset) for c in found[1:]] + [end]):
        at = float(c.offset)
        while at < after:
            out.append((at, 1.0, [48 + p.midi % 12 for p in c.pitches][:4], 70))
            at += 1.0
    return out


BEAT_QUARTERS = {"6/8": 1.5, "9/8": 1.5, "12/8": 1.5, "2/2": 2.0}


def tune(score, rng: random.Random, synths: dict[str, Synth], chords: bool):
    """Return labels and audio of an ABC tune, or None where its notation leaves key or metre open."""
    key = next(iter(score.flatten().getElementsByClass("KeySignature")), None)
    metre = {t.ratioString for t in score.flatten().getElementsByClass("TimeSignature")}
    if key is None or getattr(key, "mode", None) not in ("major", "minor") or len(metre) != 1:
        return None
    metre = metre.pop()
    if metre not in ("2/4", "3/4", "4/4", "6/8", "2/2"):
        return None
    part = score.parts[0] if score.parts else score
    parts = [flat(part)] + ([symbols(part)] if chords else [])
    if not parts[0] or (chords and len(parts[1]) < 8):
        return None
    quarters = BEAT_QUARTERS.get(metre, 1.0)
    beat = {"6/8": rng.uniform(85, 130), "3/4": rng.uniform(90, 180), "2/2": rng.uniform(80, 120)}.get(metre, rng.uniform(70, 140))
    pcm = render_score(parts, rng, beat * quarters, [rng.choice(MELODY), rng.choice([0, 24, 21])], synths)
    tonic = NAMES[key.tonic.pitchClass]
    return {"tempo_bpm": round(beat, 2), "key": f"{tonic} {key.mode}", "metre": "2/2" if metre == "2/2" else metre}, pcm


def tunes(rng: random.Random, synths: dict[str, Synth], per_metre: int = 12):
    """Yield unaccompanied tunes and tunes with chords, about as many of every metre."""
    from music21 import converter, corpus

    sources = [(p, False) for p in corpus.getPaths(fileExtensions=("abc",)) if "ryansMammoth" in str(p)]
    sources += [(p, True) for p in corpus.getPaths(fileExtensions=("abc",)) if "nottingham" in str(p)]
    rng.shuffle(sources)
    count: dict[tuple, int] = {}
    for path, chords in sources:
        name = os.path.basename(str(path))[:-4]
        try:
            parsed = converter.parse(path)
            scores = list(parsed.scores) if "Opus" in parsed.classes else [parsed]
            rng.shuffle(scores)
            made = [(i, tune(s, rng, synths, chords)) for i, s in enumerate(scores[:8])]
        except Exception as e:  # noqa: BLE001  (music21 refuses some tunes in many ways)
            print("left out", name, type(e).__name__)
            continue
        for i, got in made:
            if got is None or count.get((chords, got[0]["metre"]), 0) >= per_metre:
                continue
            count[chords, got[0]["metre"]] = count.get((chords, got[0]["metre"]), 0) + 1
            yield f"tune-{name}-{i}", "chords" if chords else "tunes", split_of(name + str(i)), *got
        if len(count) >= 8 and min(count.values()) >= per_metre:
            return


def chorales(rng: random.Random, synths: dict[str, Synth], want: int = 40):
    """Yield Bach chorales."""
    from music21 import converter, corpus

    paths = [p for p in corpus.getPaths() if "/bach/bwv" in str(p)]
    rng.shuffle(paths)
    for path in paths:
        if want == 0:
            return
        try:
            score = converter.parse(path)
            sharps = next(iter(score.flatten().getElementsByClass("KeySignature"))).sharps
            metre = {t.ratioString for t in score.flatten().getElementsByClass("TimeSignature")}
            bass = score.parts[-1].flatten().notes[-1].pitches[0].pitchClass
            parts = [flat(p) for p in score.parts[:8]]
        except Exception:  # noqa: BLE001
            continue
        major = sharps * 7 % 12
        mode = {major: "major", (major + 9) % 12: "minor"}.get(bass)
        if mode is None or metre - {"4/4", "3/4"} or len(metre) != 1:
            continue
        bpm = rng.uniform(60, 110)
        labels = {"tempo_bpm": round(bpm, 2), "key": f"{NAMES[bass]} {mode}", "metre": metre.pop()}
        name = os.path.basename(str(path))[:-4]
        want -= 1
        yield f"chorale-{name}", "chorale", split_of(name), labels, render_score(parts, rng, bpm, [rng.choice(CHORAL)], synths)


def project_tempo(raw: bytes) -> float | None:
    """Return the beats a minute of an LMMS project, plain or compressed; None if they change."""
    text = (raw if raw.startswith(b"<?xml") else zlib.decompress(raw[4:])).decode("utf-8", "replace")
    head = re.search(r"<head\b[^>]*>", text)
    bpm = head and re.search(r'\bbpm="([0-9.]+)"', head[0])
    return float(bpm[1]) if bpm and head[0].endswith("/>") else None  # a tempo that changes is an element within the head


def lmms(_: random.Random, __: dict[str, Synth]):
    """Yield clips of LMMS projects."""
    env = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    for path in sorted(glob.glob(LMMS, recursive=True)):
        with open(path, "rb") as f:
            bpm = project_tempo(f.read())
        if bpm is None:
            continue
        name = os.path.basename(path).split(".")[0]
        with tempfile.TemporaryDirectory() as folder:
            wav = os.path.join(folder, "all.wav")
            done = subprocess.run(["lmms", "--allowroot", "render", path, "-o", wav, "-f", "wav", "-s", str(RATE)], env=env, capture_output=True, check=False)
            if done.returncode or not os.path.exists(wav):
                print(f"{path}: lmms ends with {done.returncode}", flush=True)
                continue
            decoded = subprocess.run(["ffmpeg", "-v", "error", "-i", wav, "-ac", "1", "-ar", str(RATE), "-f", "s16le", "-"], capture_output=True, check=True)
        pcm = np.frombuffer(decoded.stdout, "<i2")
        for place in (5.0, 45.0):
            part = pcm[int(place * RATE) : int((place + SPAN) * RATE)]
            if len(part) >= 20 * RATE or place == 5.0:
                yield f"lmms-{name}-{int(place)}", "lmms", split_of(name), {"tempo_bpm": bpm}, part


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("out")
    args.add_argument("--sets", default="human,tunes,chorales")
    args.add_argument("--fonts", default=",".join(FONTS), help="soundfonts that a clip may sound through")
    args.add_argument("--seed", type=int, default=1)
    opt = args.parse_args()
    os.makedirs(opt.out, exist_ok=True)
    synths = {f: Synth(f) for f in opt.fonts.split(",")}
    makers = {"human": human, "tunes": tunes, "chorales": chorales, "lmms": lmms}
    with open(os.path.join(opt.out, "set.jsonl"), "w", encoding="ascii") as f:
        for which in opt.sets.split(","):
            for name, kind, split, labels, pcm in makers[which](random.Random(opt.seed), synths):
                if len(pcm) < 8 * RATE or not pcm.any() or not labels:
                    continue
                write_wav(os.path.join(opt.out, name + ".wav"), pcm)
                f.write(json.dumps({"id": name, "audio": name + ".wav", "set": kind, "split": split, "labels": labels}) + "\n")
                f.flush()


if __name__ == "__main__":
    main()
