"""A toy decoder and toy shards for all tests."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch

from llark import toy

torch.set_num_threads(1)
KEYS = ["C major", "F# minor", "Bb major", "E minor"]
WIDTH = 6


def write_shards(folder, clips=24, seed=0):
    """Clips whose frames tell their key and tempo, and one pair about each."""
    folder.mkdir(parents=True, exist_ok=True)
    dice, files = np.random.default_rng(seed), []
    for split, n in (("train", clips), ("validation", 4)):
        name = f"{split}-000000.tar"
        with tarfile.open(folder / name, "w") as tar:
            for i in range(n):
                frames = dice.normal(0, 0.1, (5 + i % 3, WIDTH)).astype(np.float32)
                frames[:, i % 4] += 2
                raw = io.BytesIO()
                np.save(raw, frames)
                pairs = [{"question": "In which key is this piece?", "answer": f"The key is {KEYS[i % 4]}.", "family": "understanding"},
                         {"question": "What is the time signature?", "answer": "It is in 4/4 time.", "family": "reasoning"}]  # fmt: skip
                text = json.dumps({"id": f"toy/{split}{i}", "response": pairs}).encode()
                for ending, blob in (("audio_encoding.npy", raw.getvalue()), ("json", text)):
                    info = tarfile.TarInfo(f"toy__{split}{i}.{ending}")
                    info.size = len(blob)
                    tar.addfile(info, io.BytesIO(blob))
        files.append({"name": name, "split": split})
    (folder / "manifest.json").write_text(json.dumps({"format": "webdataset", "encoder": "emb/v1/toy", "files": files}))
    return str(folder)


TEXTS = ["In which key is this piece? The key is C major. F# minor Bb major E minor", "What is the time signature? It is in 4/4 time."]


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="session", params=["llama", "qwen2"])
def decoder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    toy.write(str(folder), TEXTS, 120, 32, 2, 4, 1, request.param)
    return str(folder)


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama-only")
    toy.write(str(folder), TEXTS, 120, 32, 2, 4, 1)
    return str(folder)
