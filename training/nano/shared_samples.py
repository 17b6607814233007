"""Print which programs of a soundfont share recordings with another: python -m nano.shared_samples FONT OTHER

Soundfonts copy from each other. A font may train what the other tests only with the programs that share nothing with it.
"""

from __future__ import annotations

import struct
import sys

import numpy as np

RUN = 20  # samples in a row that must be equal
MOVING = 60  # mean step between samples of a run that counts: silence is equal everywhere
SHARED = 0.02  # share of a recording's runs from which on it counts as shared


def _table(pdta: bytes, name: bytes, form: str) -> list[tuple]:
    at = pdta.find(name)
    size = struct.unpack("<I", pdta[at + 4 : at + 8])[0]
    return list(struct.iter_unpack(form, pdta[at + 8 : at + 8 + size]))


def read(path: str) -> tuple[np.ndarray, dict[int, tuple[int, int]], dict[tuple[int, int], set[int]]]:
    """Return the samples of a SoundFont 2 file, where each recording lies in them, and the recordings of each (bank, program)."""
    with open(path, "rb") as f:
        raw = f.read()
    at = raw.find(b"smpl", raw.find(b"sdta"))
    size = struct.unpack("<I", raw[at + 4 : at + 8])[0]
    pdta = raw[raw.find(b"pdta") :]
    bags, gens = {b"i": _table(pdta, b"ibag", "<HH"), b"p": _table(pdta, b"pbag", "<HH")}, {b"i": _table(pdta, b"igen", "<HH"), b"p": _table(pdta, b"pgen", "<HH")}

    def named(kind: bytes, first: int, last: int, generator: int) -> set[int]:
        rows = (gens[kind][bags[kind][k][0] : bags[kind][k + 1][0]] for k in range(first, last))
        return {value for row in rows for oper, value in row if oper == generator}

    instruments = _table(pdta, b"inst", "<20sH")
    recordings = [named(b"i", a[1], b[1], 53) for a, b in zip(instruments, instruments[1:], strict=False)]
    presets = _table(pdta, b"phdr", "<20sHHHIII")
    programs = {(a[2], a[1]): set().union(*(recordings[i] for i in named(b"p", a[3], b[3], 41))) for a, b in zip(presets, presets[1:], strict=False)}
    places = {i: (s[1], s[2]) for i, s in enumerate(_table(pdta, b"shdr", "<20sIIIIIBbHH")[:-1])}
    return np.frombuffer(raw[at + 8 : at + 8 + size // 2 * 2], "<i2"), places, programs


def runs(x: np.ndarray) -> np.ndarray:
    """Return a hash of each run of samples that moves."""
    if len(x) < 2 * RUN:
        return np.zeros(0, np.int64)
    factor, count = np.random.default_rng(1).integers(1, 2**62, RUN), len(x) - RUN + 1
    out = np.zeros(count, np.int64)
    for i in range(RUN):
        out += x[i : i + count].astype(np.int64) * factor[i]
    return out[np.convolve(np.abs(np.diff(x.astype(np.int32), prepend=x[:1])), np.ones(RUN), "valid") > RUN * MOVING]


def main() -> None:
    samples, places, programs = read(sys.argv[1])
    others = np.unique(runs(read(sys.argv[2])[0]))

    def known(h: np.ndarray) -> float:
        return float((others[np.minimum(np.searchsorted(others, h), len(others) - 1)] == h).mean()) if len(h) else 0.0

    share = {i: known(runs(samples[a:b])) for i, (a, b) in places.items()}
    for own in (True, False):
        found = sorted(p for p, used in programs.items() if (max([share[i] for i in used] or [0]) <= SHARED) == own)
        print("shares nothing:" if own else "shares recordings:", *(f"{bank}:{program}" for bank, program in found))


if __name__ == "__main__":
    main()
