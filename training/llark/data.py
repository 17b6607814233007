"""Shards of `lark dataset export` as examples, in an order that depends on the seed and the step alone."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import tarfile
from dataclasses import dataclass

import numpy as np
import torch

from .tokens import IGNORE, Prompts


@dataclass
class Pair:
    """Where a pair lies: frames at an offset of a shard."""

    shard: str
    offset: int
    size: int
    pickled: bool
    clip: str
    family: str
    question: str
    answer: str


def share(*parts: object) -> float:
    """A number from 0 to 1 that depends on the parts alone."""
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


class Frames(pickle.Unpickler):
    """Reads the pickled frames of an export and nothing else: of a pickle that names other functions, none is called."""

    ALLOWED = {("torch", "from_numpy"), ("numpy", "reshape"), ("numpy", "frombuffer"), ("builtins", "bytearray")}

    def find_class(self, module: str, name: str):
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"frames must not name {module}.{name}")
        return super().find_class(module, name)


class Shards:
    """All pairs of a split of an export. fraction keeps a part of the clips, the same for equal seeds; families keeps some."""

    def __init__(self, folder: str, split: str, fraction: float = 1.0, seed: int = 1, families: list[str] | None = None) -> None:
        path = os.path.join(folder, "manifest.json")
        if not os.path.exists(path):
            raise FileNotFoundError(f"{path} is missing: {folder} is no whole export of lark dataset export")
        with open(path, encoding="utf-8") as f:
            manifest = json.load(f)
        if manifest["format"] != "webdataset":
            raise ValueError(f"{folder} is in the format {manifest['format']}: export it with --format webdataset")
        self.encoder, self.pairs = manifest["encoder"], []
        for file in manifest["files"]:
            if file["split"] == split:
                self._index(os.path.join(folder, file["name"]), fraction, seed, families)
        self.width = self.frames(self.pairs[0]).shape[1] if self.pairs else 0

    def _index(self, path: str, fraction: float, seed: int, families: list[str] | None) -> None:
        with tarfile.open(path) as tar:
            last = None
            for member in tar:
                if not member.name.endswith(".json"):
                    last = member
                    continue
                clip = json.load(tar.extractfile(member))
                if share(seed, clip["id"]) >= fraction:
                    continue
                for p in clip["response"]:
                    if families is None or p["family"] in families:
                        self.pairs.append(
                            Pair(path, last.offset_data, last.size, last.name.endswith(".pyd"), clip["id"], p["family"], p["question"], p["answer"])
                        )

    def frames(self, p: Pair) -> torch.Tensor:
        with open(p.shard, "rb") as f:
            f.seek(p.offset)
            raw = io.BytesIO(f.read(p.size))
        if p.pickled:
            return Frames(raw).load()
        return torch.from_numpy(np.load(raw, allow_pickle=False))


class Order:
    """Which pair is example i of a run: each epoch is a permutation of its own. Nothing is remembered, so that a run can go on from any step."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed, self._epoch, self._permutation = n, seed, -1, []

    def at(self, i: int) -> tuple[int, bool]:
        """The pair's index, and whether the audio stands before the question (a coin, as in LLark)."""
        epoch, place = divmod(i, self.n)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._permutation, self._epoch = torch.randperm(self.n, generator=generator).tolist(), epoch
        return self._permutation[place], share(self.seed, "side", i) < 0.5


def batch(prompts: Prompts, shards: Shards, chosen: list[tuple[int, bool]], most: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Examples padded on the right. One that is longer than most tokens is cut at its end; its answer then has no end mark."""
    examples, frames = [], []
    for index, first in chosen:
        p = shards.pairs[index]
        frames.append(shards.frames(p))
        examples.append(prompts.example(p.question, p.answer, frames[-1].shape[0], first))
    n, f = min(most, max(len(e.ids) for e in examples)), max(x.shape[0] for x in frames)
    ids = torch.full((len(examples), n), prompts.added["[PAD]"])
    labels = torch.full((len(examples), n), IGNORE)
    padded = torch.zeros(len(examples), f, shards.width)
    for i, e in enumerate(examples):
        k = min(n, len(e.ids))
        ids[i, :k], labels[i, :k] = torch.tensor(e.ids[:k]), torch.tensor(e.labels[:k])
        padded[i, : frames[i].shape[0]] = frames[i].float()
    audio, counts = torch.tensor([e.audio for e in examples]), torch.tensor([e.frames for e in examples])
    out = {"ids": ids, "labels": labels, "frames": padded, "audio": audio, "counts": counts}
    return {k: v.to(device) for k, v in out.items()}
