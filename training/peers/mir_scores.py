"""Compare `lark analyse` with Essentia, aubio and librosa on labelled clips: python -m peers.mir_scores DATA LARK [--limit N], from training/.

Clips are those of the split test under DATA (set.jsonl as peers.mir_clips writes it, and nano.generate's folder test). Every system hears every clip in this
one run, one thread each; core-seconds are the processor time of decoding and estimating, without start-up, for lark the whole process. Intervals are 95 %
bootstrap intervals over clips. Prints Markdown. What a peer answered is kept in DATA/peers.jsonl and not asked again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import time

import numpy as np

from . import mir_fit
from .essentia_scores import OCTAVES, TONICS, mirex

TEMPO = ["lark", "essentia multifeature", "essentia degara", "aubio", "librosa"]
KEY = ["lark", "essentia bgate", "essentia edma", "essentia krumhansl", "librosa + Krumhansl"]
MAJOR, MINOR = ([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88], [6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])


def timed(work):
    """Return what work returns and the processor seconds that it and its children took."""
    before = time.process_time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    got = work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return got, time.process_time() - before[0] + after.ru_utime - before[1].ru_utime + after.ru_stime - before[1].ru_stime


def lark(binary: str, path: str) -> dict:
    """Return lark's readings."""
    out, seconds = timed(lambda: json.loads(subprocess.run([binary, "analyse", "--json", path], check=True, capture_output=True).stdout))
    key = out["key"]["name"] if out["key"] else None
    return {"lark": {"tempo": (out["tempo"] or {}).get("bpm"), "key": key, "metre": (out["metre"] or {}).get("name"), "seconds": seconds}}


def peers(path: str, only: list[str] | None = None) -> dict:
    """Return the readings of the peers, or of those named only; each decodes the file itself."""
    import essentia
    import essentia.standard as es
    import librosa

    essentia.log.warningActive = essentia.log.infoActive = False

    def load():
        return es.MonoLoader(filename=path, sampleRate=44100)()

    def rhythm(method: str) -> dict:
        return {"tempo": float(es.RhythmExtractor2013(method=method)(load())[0])}

    def key(profile: str) -> dict:
        tonic, mode, _ = es.KeyExtractor(profileType=profile)(load())
        return {"key": f"{tonic} {mode}"}

    def aubio() -> dict:
        text = subprocess.run(["aubio", "tempo", path], check=True, capture_output=True, text=True).stdout
        return {"tempo": float(text.split()[0]) if text.split() else None}

    def by_librosa() -> dict:
        y, sr = librosa.load(path, sr=22050)
        return {"tempo": float(np.atleast_1d(librosa.beat.beat_track(y=y, sr=sr)[0])[0])}

    def key_by_librosa() -> dict:
        y, sr = librosa.load(path, sr=22050)
        chroma = librosa.feature.chroma_cqt(y=y, sr=sr).mean(1)
        scored = [(np.corrcoef(chroma, np.roll(p, t))[0, 1], f"{mir_fit.NAMES[t]} {m}") for p, m in ((MAJOR, "major"), (MINOR, "minor")) for t in range(12)]
        return {"key": max(scored)[1]}

    systems = {f"essentia {m}": lambda m=m: rhythm(m) for m in ("multifeature", "degara")}
    systems |= {f"essentia {p}": lambda p=p: key(p) for p in ("bgate", "edma", "krumhansl")}
    systems |= {"aubio": aubio, "librosa": by_librosa, "librosa + Krumhansl": key_by_librosa}
    out = {}
    for name, work in systems.items():
        if only is None or name in only:
            got, seconds = timed(work)
            out[name] = got | {"seconds": seconds}
    return out


def scores(clip: dict, answer: dict) -> dict[str, float]:
    """Return the scores of one system's answer."""
    out = {}
    if clip.get("tempo_bpm") and "tempo" in answer:
        ratio = (answer["tempo"] or 1e-9) / clip["tempo_bpm"]
        out["acc1"] = float(abs(ratio - 1) < 0.04)
        out["acc2"] = float(any(abs(ratio / f - 1) < 0.04 for f in OCTAVES))
    if clip.get("key") and "key" in answer:
        want = clip["key"].split()
        got = answer["key"].split() if answer["key"] else None
        weight = mirex((TONICS[got[0]], got[1]), (TONICS[want[0]], want[1])) if got else 0.0
        out["exact"], out["mirex"] = float(weight == 1), weight
    return out


def interval(values: list[float]) -> str:
    """Return the mean and its 95 % bootstrap interval."""
    x, rng = np.array(values), np.random.default_rng(1)
    means = x[rng.integers(0, len(x), (2000, len(x)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{x.mean():.3f} ({low:.2f} to {high:.2f})"


def table(clips: list[dict], answers: dict, systems: list[str], measures: tuple[str, str]) -> None:
    """Print one table."""
    sets = sorted({c["set"] for c in clips})
    print(f"| system | {' | '.join(f'{s}: {m}' for s in ['all', *sets] for m in measures)} | core-s a clip |")
    print("| --- |" + " --- |" * (2 * len(sets) + 3))
    for system in systems:
        cells = []
        for s in ["all", *sets]:
            got = [scores(c, answers[c["file"]][system]) for c in clips if s in ("all", c["set"]) and system in answers[c["file"]]]
            for m in measures:
                values = [g[m] for g in got if m in g]
                cells.append(interval(values) if s == "all" and values else f"{np.mean(values):.2f} (n={len(values)})" if values else "")
        seconds = [answers[c["file"]][system]["seconds"] for c in clips if system in answers[c["file"]]]
        print(f"| {system} | {' | '.join(cells)} | {np.mean(seconds):.3f} |")
    print()


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("data")
    args.add_argument("lark")
    args.add_argument("--limit", type=int, default=60, help="clips of a set at most")
    opt = args.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
    known = [c | {"file": f} for f, c in mir_fit.labels(opt.data).items() if c["split"] == "test" and c["content"] == "music"]
    random.Random(1).shuffle(known)
    clips, count = [], {}
    for c in known:
        count[c["set"]] = count.get(c["set"], 0) + 1
        if count[c["set"]] <= opt.limit:
            clips.append(c)
    kept = os.path.join(opt.data, "peers.jsonl")
    answers = {a["file"]: a["peers"] for a in map(json.loads, open(kept, encoding="ascii"))} if os.path.exists(kept) else {}
    if any(c["file"] not in answers for c in clips):
        peers(clips[0]["file"])  # compiling, imports and caches are not timed
    with open(kept, "a", encoding="ascii") as f:
        for c in clips:
            if c["file"] not in answers:
                answers[c["file"]] = peers(c["file"])
                f.write(json.dumps({"file": c["file"], "peers": answers[c["file"]]}) + "\n")
                f.flush()
    for c in clips:
        answers[c["file"]] |= lark(opt.lark, c["file"])
    print(f"n = {len(clips)} clips, {len({c['set'] for c in clips})} sets\n")
    table(clips, answers, TEMPO, ("acc1", "acc2"))
    table(clips, answers, KEY, ("exact", "mirex"))
    metred = [c for c in clips if c.get("metre") in mir_fit.METRES]
    right = {m: [answers[c["file"]]["lark"]["metre"] == m for c in metred if c["metre"] == m] for m in mir_fit.METRES}
    print("metre, lark alone: " + ", ".join(f"{m} {np.mean(v):.2f} (n={len(v)})" for m, v in right.items() if v))


if __name__ == "__main__":
    main()
