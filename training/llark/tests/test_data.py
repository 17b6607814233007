"""Shards, their order, and frames that are hostile."""

import pickle
from pathlib import Path

import pytest
import torch

from llark import data

GOLDEN = Path(__file__).parents[3] / "lab/dataset/testdata/frames.pyd"


def test_order_is_a_permutation_and_needs_no_memory():
    order = data.Order(50, 7)
    first = [order.at(i) for i in range(150)]
    assert sorted(i for i, _ in first[:50]) == list(range(50))
    assert first[:50] != first[50:100]
    assert [data.Order(50, 7).at(i) for i in (149, 3, 60)] == [first[149], first[3], first[60]]
    assert 40 < sum(side for _, side in first) < 110


def test_fraction_and_families(shards):
    whole = data.Shards(shards, "train")
    half = data.Shards(shards, "train", fraction=0.5, seed=2)
    assert 0 < len(half.pairs) < len(whole.pairs) == 48
    assert {p.clip for p in half.pairs} < {p.clip for p in whole.pairs}
    assert {p.family for p in data.Shards(shards, "train", families=["reasoning"]).pairs} == {"reasoning"}


def test_pickled_frames_as_lark_writes_them():
    with GOLDEN.open("rb") as f:
        frames = data.Frames(f).load()
    assert torch.equal(frames, torch.tensor([[1, -2, 0.5], [4, 5, 6.25]]))
    with GOLDEN.open("rb") as f:
        assert torch.equal(pickle.load(f), frames), "LLark's script reads them with pickle itself"


def test_a_pickle_that_names_other_functions_is_refused(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with path.open("rb") as f, pytest.raises(pickle.UnpicklingError, match="must not name"):
        data.Frames(f).load()
