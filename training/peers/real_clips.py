"""Make clips of recordings, labelled where two peers agree: python -m peers.real_clips OUT LARK [--packages ...], from training/, in the environment of peers/mir.

Recordings are those of Debian's music packages that are installed, or that lie in folders; 25 s from second 30 of each (--places), or its first 25 s. A tempo is labelled where aubio and librosa are
within 4 % of each other, a key where librosa with Krumhansl's profiles and Essentia with Krumhansl's profiles name the same. So no label comes from `lark
analyse`, and none of the tempo from Essentia. OUT/set.jsonl is a set of `lark eval`; beside a labelled clip lies its label as nano.generate writes it, so that the trainer of the encoder reads the folder as data/real. What Essentia's other readings score on the same labels is printed, beside lark's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess

from . import mir_fit
from .mir_scores import interval, lark, peers, scores

PACKAGES = "wesnoth-1.16-music,hyperrogue-music,drascula-music,singularity-music,asc-music,planetblupi-music-ogg"
SPAN = 25.0
AUDIO = (".ogg", ".mp3", ".flac", ".opus")
PLACE = 30.0
LABELLING = ["aubio", "librosa", "essentia krumhansl", "librosa + Krumhansl"]
COMPARED = ["lark", "essentia multifeature", "essentia degara", "essentia bgate", "essentia edma"]


def tracks(package: str) -> list[str]:
    """Return the audio files of an installed package, or of a folder."""
    if os.path.isdir(package):
        return sorted(os.path.join(folder, name) for folder, _, names in os.walk(package) for name in names if name.endswith(AUDIO))
    listed = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=False).stdout
    return sorted(p for p in listed.splitlines() if p.endswith(AUDIO))


def seconds(path: str) -> float:
    """Return the length of a file; 0 if it cannot be read."""
    shown = subprocess.run(["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", path], capture_output=True, text=True, check=False)
    return float(shown.stdout or 0)


def cut(path: str, wav: str, place: float) -> bool:
    """Write a clip of the file; false if it is too short for one."""
    long = seconds(path)
    if long < 15 or (place > PLACE and long < place + SPAN):
        return False
    begin = place if long >= place + SPAN else 0.0
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-ss", str(begin), "-i", path, "-t", str(SPAN - 0.01), "-ac", "1", "-ar", "44100", "-fflags", "+bitexact", "-flags:a", "+bitexact", wav], check=True)
    return True


def labels(heard: dict) -> dict:
    """Return what two peers agree on."""
    out = {}
    one, two = heard["aubio"]["tempo"], heard["librosa"]["tempo"]
    if one and two and abs(one / two - 1) < 0.04:
        out["tempo_bpm"] = round((one + two) / 2, 2)
    if heard["essentia krumhansl"]["key"] == heard["librosa + Krumhansl"]["key"]:
        out["key"] = heard["librosa + Krumhansl"]["key"]
    return out


def write_label(path: str, known: dict) -> None:
    """Write a label in the trainer's form."""
    label = {k: v for k, v in known.items() if k != "key"}
    if "key" in known:
        index = mir_fit.key_index(known["key"])
        label |= {"key": mir_fit.NAMES[index % 12], "mode": "minor" if index >= 12 else "major"}
    with open(path, "w", encoding="ascii") as f:
        json.dump(label, f)


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("out")
    args.add_argument("lark", help="the binary")
    args.add_argument("--packages", default=PACKAGES, help="packages or folders")
    args.add_argument("--places", default=str(PLACE), help="seconds at which the clips of a track begin; beyond 30 only where the track is long enough")
    args.add_argument("--labels", action="store_true", help="ask only the peers whose agreement labels, and compare nothing")
    args.add_argument("--most", type=int, default=20, help="tracks of each package")
    opt = args.parse_args()
    os.makedirs(opt.out, exist_ok=True)
    clips, answers = [], []
    with open(os.path.join(opt.out, "set.jsonl"), "w", encoding="ascii") as f:
        for package in opt.packages.split(","):
            found = [(i, path, float(place)) for i, path in enumerate(tracks(package)[: opt.most]) for place in opt.places.split(",")]
            for i, path, place in found:
                name = f"{os.path.basename(package)}-{i:03d}" + (f"-{place:.0f}" if place != PLACE else "")
                wav = os.path.join(opt.out, name + ".wav")
                if not cut(path, wav, place):
                    continue
                heard = peers(wav, LABELLING if opt.labels else None) | ({} if opt.labels else lark(opt.lark, wav))
                known = labels(heard)
                if known:
                    f.write(json.dumps({"id": name, "audio": name + ".wav", "labels": known}) + "\n")
                    f.flush()
                    write_label(wav[:-4] + ".json", known)
                    clips.append(known)
                    answers.append(heard)
                print(f"{name}: {known}", flush=True)
    for system in [] if opt.labels else COMPARED:
        got = [scores(c, a[system]) for c, a in zip(clips, answers)]
        for measure in ("acc1", "acc2", "exact", "mirex"):
            values = [g[measure] for g in got if measure in g]
            if values:
                print(f"{system}: {measure} {interval(values)}, n {len(values)}")


if __name__ == "__main__":
    main()
