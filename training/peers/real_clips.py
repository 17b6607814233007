"""Make clips of recordings, labelled where two peers agree: python -m peers.real_clips OUT LARK [--packages ...], from training/, in the environment of peers/mir.

Recordings are those of Debian's music packages that are installed; 25 s from second 30 of each, or its first 25 s. A tempo is labelled where aubio and librosa are
within 4 % of each other, a key where librosa with Krumhansl's profiles and Essentia with Krumhansl's profiles name the same. So no label comes from `lark
analyse`, and none of the tempo from Essentia. OUT/set.jsonl is a set of `lark eval`; what Essentia's other readings score on the same labels is printed, beside lark's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess

from .mir_scores import interval, lark, peers, scores

PACKAGES = "wesnoth-1.16-music,hyperrogue-music,drascula-music,singularity-music,asc-music,planetblupi-music-ogg"
SPAN, BEGIN = 25.0, 30.0
COMPARED = ["lark", "essentia multifeature", "essentia degara", "essentia bgate", "essentia edma"]


def tracks(package: str) -> list[str]:
    """Return the audio files of an installed package."""
    listed = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=False).stdout
    return sorted(p for p in listed.splitlines() if p.endswith((".ogg", ".mp3", ".flac", ".opus")))


def seconds(path: str) -> float:
    """Return the length of a file; 0 if it cannot be read."""
    shown = subprocess.run(["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", path], capture_output=True, text=True, check=False)
    return float(shown.stdout or 0)


def cut(path: str, wav: str) -> bool:
    """Write a clip of the file; false if it is too short for one."""
    long = seconds(path)
    if long < 15:
        return False
    begin = BEGIN if long >= BEGIN + SPAN else 0.0
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-ss", str(begin), "-i", path, "-t", str(SPAN), "-ac", "1", "-ar", "44100", wav], check=True)
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


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("out")
    args.add_argument("lark", help="the binary")
    args.add_argument("--packages", default=PACKAGES)
    args.add_argument("--most", type=int, default=20, help="tracks of each package")
    opt = args.parse_args()
    os.makedirs(opt.out, exist_ok=True)
    clips, answers = [], []
    with open(os.path.join(opt.out, "set.jsonl"), "w", encoding="ascii") as f:
        for package in opt.packages.split(","):
            for i, path in enumerate(tracks(package)[: opt.most]):
                name = f"{package}-{i:03d}"
                wav = os.path.join(opt.out, name + ".wav")
                if not cut(path, wav):
                    continue
                heard = peers(wav) | lark(opt.lark, wav)
                known = labels(heard)
                if known:
                    f.write(json.dumps({"id": name, "audio": name + ".wav", "labels": known}) + "\n")
                    f.flush()
                    clips.append(known)
                    answers.append(heard)
                print(f"{name}: {known}", flush=True)
    for system in COMPARED:
        got = [scores(c, a[system]) for c, a in zip(clips, answers)]
        for measure in ("acc1", "acc2", "exact", "mirex"):
            values = [g[measure] for g in got if measure in g]
            if values:
                print(f"{system}: {measure} {interval(values)}, n {len(values)}")


if __name__ == "__main__":
    main()
