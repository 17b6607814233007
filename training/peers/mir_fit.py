"""Fit the judges of engine/mir: python -m peers.mir_fit DATA > ../engine/mir/weights.go, from training/, with numpy and scipy.

DATA holds the folders that `make bench-mir` and this file's makers fill, and NAME.cues beside each, which engine/mir/cmd/cues wrote. Each judge is a linear softmax (multinomial
logistic regression) with a quadratic penalty on standardised cues. Only clips of the split dev are fitted; the figures on standard error are of dev, by
five-fold cross-validation, and of test.
"""

from __future__ import annotations

import json
import os
import sys
import zlib

import numpy as np
from scipy.optimize import minimize

NAMES = ["C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]
SHARPS = {"C#": "Db", "D#": "Eb", "Gb": "F#", "G#": "Ab", "A#": "Bb"}
METRES = ["2/4", "3/4", "4/4", "6/8"]
KINDS = ["music", "noise", "speech", "tone"]
PROFILES = 3  # cues of the key that are correlations with published profiles: these are hardly penalised
PENALTY = {"tempo": 3e-3, "key": 3e-2, "metre": 1e-1, "content": 3e-3}


def key_index(name: str) -> int:
    """Return 0 to 11 for major, 12 to 23 for minor."""
    tonic, mode = name.split()
    return NAMES.index(SHARPS.get(tonic, tonic)) + (12 if mode == "minor" else 0)


def labels(data: str) -> dict[str, dict]:
    """Return the labels of every clip by its path."""
    out = {}
    for folder in sorted(os.listdir(data)):
        at = os.path.abspath(os.path.join(data, folder))
        if os.path.isfile(p := os.path.join(at, "set.jsonl")):
            for line in open(p, encoding="ascii"):
                clip = json.loads(line)
                out[os.path.join(at, clip["audio"])] = clip["labels"] | {"set": clip["set"], "split": clip["split"], "content": clip["labels"].get("content", "music")}
        elif folder != "none" and os.path.isdir(at):
            for name in os.listdir(at):
                if name.endswith(".json") and "tempo_bpm" in (c := json.load(open(os.path.join(at, name), encoding="ascii"))):
                    out[os.path.join(at, name[:-5] + ".wav")] = {
                        "tempo_bpm": c["tempo_bpm"], "key": c["key"] + " " + c["mode"], "metre": c["metre"], "content": "music", "set": "generated",
                        "split": "test" if folder == "test" else "dev",
                    }  # fmt: skip
    return out


def clips(data: str) -> list[dict]:
    """Return cues and labels of every clip that has both."""
    known, out = labels(data), []
    for name in sorted(os.listdir(data)):
        if name.endswith(".cues"):
            for line in open(os.path.join(data, name), encoding="ascii"):
                c = json.loads(line)
                if c["file"] in known:
                    out.append({"cues": c} | known[c["file"]] | {"file": c["file"]})
    return out


def fit(x: np.ndarray, y: np.ndarray, penalty: float | np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weights [cues] of scores x @ w whose softmax over the second axis is nearest to y; x is [clips, choices, cues]."""
    flat = x.reshape(-1, x.shape[-1])
    scale = flat.std(0) + 1e-6
    z = (x - flat.mean(0)) / scale
    weights = weights / weights.sum()

    def loss(w):
        s = z @ w
        s -= s.max(1, keepdims=True)
        e = np.exp(s)
        total = e.sum(1, keepdims=True)
        value = -(weights[:, None] * y * (s - np.log(total))).sum() + (penalty * w * w).sum()
        return value, np.einsum("n,ng,ngc->c", weights, e / total - y, z) + 2 * penalty * w

    return minimize(loss, np.zeros(x.shape[-1]), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x / scale


def blocks(cues: np.ndarray, classes: int) -> np.ndarray:
    """Return [clips, classes, classes*(cues+1)]: every class has weights and a bias of its own."""
    n, c = cues.shape
    out = np.zeros((n, classes, classes * (c + 1)))
    for k in range(classes):
        out[:, k, k * (c + 1) : (k + 1) * (c + 1) - 1] = cues
        out[:, k, (k + 1) * (c + 1) - 1] = 1
    return out


def balanced(names: list[str]) -> np.ndarray:
    """Return weights by which every name counts the square root of its share, and click tracks, which are no music, a fifth of it."""
    count = {n: names.count(n) for n in names}
    return np.array([count[n] ** -0.5 * (0.2 if n == "clicks" else 1) for n in names])


def tempo_data(all_clips):
    some = [c for c in all_clips if c.get("tempo_bpm") and c["content"] == "music"]
    grid = np.array(some[0]["cues"]["bpm"])
    x = np.array([c["cues"]["tempo"] for c in some])
    y = np.exp(-((np.log(grid[None] / np.array([c["tempo_bpm"] for c in some])[:, None]) / 0.02) ** 2) / 2)
    return some, x, y / y.sum(1, keepdims=True)


def key_data(all_clips):
    some = [c for c in all_clips if c.get("key")]
    cues = np.array([c["cues"]["key"] for c in some])
    n, _, c = cues.shape
    x = np.zeros((n, 24, 2 * (c + 1)))
    x[:, :12, :c], x[:, :12, c] = cues[:, :12], 1
    x[:, 12:, c + 1 : -1], x[:, 12:, -1] = cues[:, 12:], 1
    return some, x, np.eye(24)[[key_index(c["key"]) for c in some]]


def metre_data(all_clips):
    some = []
    for c in all_clips:
        metre = {"2/2": "2/4"}.get(c.get("metre"), c.get("metre"))
        if metre in METRES and c["cues"]["metre"] and c.get("tempo_bpm") and abs(np.log(c["cues"]["rate"] / c["tempo_bpm"])) < 0.08:
            some.append(c | {"metre": metre})
    return some, blocks(np.array([c["cues"]["metre"] for c in some]), 4), np.eye(4)[[METRES.index(c["metre"]) for c in some]]


def content_data(all_clips):
    return all_clips, blocks(np.array([c["cues"]["content"] for c in all_clips]), 4), np.eye(4)[[KINDS.index(c["content"]) for c in all_clips]]


def hit(judge: str, clip: dict, scores: np.ndarray, y: np.ndarray) -> bool:
    if judge == "tempo":
        p = np.exp(scores - scores.max())
        guess = clip["cues"]["bpm"][int(np.convolve(p, np.ones(9), "same").argmax())]
        return abs(guess / clip["tempo_bpm"] - 1) < 0.04
    return int(scores.argmax()) == int(y.argmax())


def report(judge: str, what: str, some: list, hits: list[bool]) -> None:
    names = [c["set"] + (":" + c["metre"] if judge == "metre" else "") for c in some]
    parts = [f"{n} {np.mean([h for h, m in zip(hits, names) if m == n]):.3f} ({names.count(n)})" for n in sorted(set(names))]
    print(f"{judge} {what}: {np.mean(hits):.3f}; " + ", ".join(parts), file=sys.stderr)


def judge_weights(judge: str, data) -> np.ndarray:
    some, x, y = data
    dev = np.array([c["split"] == "dev" for c in some])
    fold = np.array([zlib.crc32(os.path.basename(c["file"]).encode()) % 5 for c in some])
    names = [c["set"] for c in some] if judge != "metre" else [c["metre"] for c in some]
    if judge == "content":
        names = [c["content"] for c in some]
    weights = balanced(names)
    penalty = PENALTY[judge] * (np.tile(np.array([0.02] * PROFILES + [1] * (x.shape[-1] // 2 - PROFILES)), 2) if judge == "key" else np.ones(x.shape[-1]))
    hits = {}
    for k in range(5):
        w = fit(x[dev & (fold != k)], y[dev & (fold != k)], penalty, weights[dev & (fold != k)])
        hits |= {i: hit(judge, some[i], x[i] @ w, y[i]) for i in np.flatnonzero(dev & (fold == k))}
    report(judge, "dev, cross-validated", [some[i] for i in hits], list(hits.values()))
    w = fit(x[dev], y[dev], penalty, weights[dev])
    test = np.flatnonzero(~dev)
    if len(test):
        report(judge, "test", [some[i] for i in test], [hit(judge, some[i], x[i] @ w, y[i]) for i in test])
    return w


def array(values) -> str:
    return "{" + ", ".join(f"{v:.5g}" for v in values) + "}"


def main() -> None:
    found = clips(sys.argv[1])
    print("// Code generated by training/peers/mir_fit.py. DO NOT EDIT.\n\npackage mir\n")
    for name in sys.argv[2:]:
        PENALTY[name.split("=")[0]] = float(name.split("=")[1])
    w = judge_weights("tempo", tempo_data(found))
    print("// tempoWeights of the cues of each tempo of the grid.\nvar tempoWeights = [cueCount]float64" + array(w) + "\n")
    w = judge_weights("key", key_data(found)).reshape(2, -1)
    print("// keyWeights of the cues of major and minor keys.\nvar keyWeights = [2][keyCues]float64{\n\t" + ",\n\t".join(array(r[:-1]) for r in w) + ",\n}\n")
    print("var keyBias = [2]float64" + array(w[:, -1]) + "\n")
    for name, size, cues, data in (("metre", "len(metres)", "metreCues", metre_data), ("content", "len(kinds)", "contentCues", content_data)):
        w = judge_weights(name, data(found)).reshape(4, -1)
        print(f"// {name}Weights of the cues of each class.\nvar {name}Weights = [{size}][{cues}]float64{{\n\t" + ",\n\t".join(array(r[:-1]) for r in w) + ",\n}\n")
        print(f"var {name}Bias = [{size}]float64" + array(w[:, -1]) + "\n")


if __name__ == "__main__":
    main()
