"""Whole runs: the loss falls, a resumed run is an unbroken one, two processes are one."""

import json
import os
import subprocess
import sys

import pytest
import torch

from llark import train

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")


def options(decoder, shards, out, *more):
    return ["--decoder", decoder, "--shards", shards, "--out", str(out), "--train", "all", "--precision", "f32", "--steps", "12", "--batch", "8", "--micro", "2",
            "--lr", "0.01", "--save-every", "6", "--validate-every", "12", "--samples", "1", *more]  # fmt: skip


def losses(out):
    with open(os.path.join(out, "metrics.jsonl"), encoding="utf-8") as f:
        return [r["loss"] for r in map(json.loads, f) if "loss" in r]


def test_loss_falls_and_a_resumed_run_is_an_unbroken_one(llama, shards, tmp_path):
    train.main(options(llama, shards, tmp_path / "whole", "--tensorboard"))
    whole = losses(tmp_path / "whole")
    assert len(whole) == 12 and whole[-1] < whole[0] * 0.7
    assert os.listdir(tmp_path / "whole" / "tensorboard")

    train.main(options(llama, shards, tmp_path / "broken", "--stop-at", "6"))
    train.main(options(llama, shards, tmp_path / "broken"))
    assert losses(tmp_path / "broken") == whole, "to the bit"
    train.main(options(llama, shards, tmp_path / "broken"))
    assert losses(tmp_path / "broken") == whole, "a run that is done does nothing"
    with pytest.raises(SystemExit, match="other settings"):
        train.main(options(llama, shards, tmp_path / "broken", "--lr", "0.02"))


def test_two_processes_are_one(llama, shards, tmp_path):
    train.main(options(llama, shards, tmp_path / "one", "--gradient-checkpointing"))
    env = os.environ | {"PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "llark.train"]
    done = subprocess.run(command + options(llama, shards, tmp_path / "two"), env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-3)


def test_configurations_are_known(llama, shards, tmp_path):
    for name in os.listdir(train.PRESETS):
        a = train.arguments(["--config", name.removesuffix(".json"), "--shards", "s", "--decoder", "d", "--out", "o"])
        assert a.batch == 32
    (tmp_path / "bad.json").write_text('{"learning_rate": 1}')
    with pytest.raises(SystemExit):
        train.arguments(["--config", str(tmp_path / "bad.json")])


def test_rate():
    class Fake:
        a = train.arguments(["--shards", "s", "--decoder", "d", "--out", "o", "--steps", "1000", "--warmup", "0.1", "--lr", "1"])

    rate = lambda s: train.Run.rate(Fake, s)  # noqa: E731
    assert [rate(0), rate(50), rate(100), rate(1000)] == pytest.approx([0, 0.5, 1, 0])
    assert rate(550) == pytest.approx(0.5)
    assert torch.isfinite(torch.tensor(rate(999)))
