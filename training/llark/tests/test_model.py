"""Gradients, frozen parts, and what the splice puts where."""

import pytest
import torch

from llark import data, model, toy
from llark.tokens import Prompts


def batch_of(decoder, shards, chosen):
    p = Prompts(decoder)
    s = data.Shards(shards, "train")
    return p, data.batch(p, s, chosen, 2048, torch.device("cpu")), s.width


def net_of(decoder, p, width, train="reference"):
    torch.manual_seed(3)
    net = model.load(decoder, width, p)
    if train == "lora":
        model.add_lora(net, 4, 8)
    model.freeze(net, train)
    return net


def loss_of(net, b):
    total, n = model.loss_sum(net(b["ids"], b["audio"], b["frames"], b["counts"]), b["labels"])
    return total / n


def test_gradients(decoder, shards):
    """Gradients against differences, in float64."""
    p, b, width = batch_of(decoder, shards, [(0, True), (3, False)])
    net = net_of(decoder, p, width).double()
    b["frames"] = b["frames"].double()
    loss_of(net, b).backward()
    dice = torch.Generator().manual_seed(1)
    for name, q in net.named_parameters():
        if not q.requires_grad:
            assert q.grad is None
            continue
        direction = torch.randn(q.shape, generator=dice, dtype=q.dtype)
        with torch.no_grad():
            step, start = 1e-5, q.clone()
            q.copy_(start + step * direction)
            up = loss_of(net, b)
            q.copy_(start - step * direction)
            down = loss_of(net, b)
            q.copy_(start)
        wanted, got = ((up - down) / (2 * step)).item(), (q.grad * direction).sum().item()
        assert got == pytest.approx(wanted, rel=1e-4, abs=1e-7), name


@pytest.mark.parametrize("train", ["reference", "projector", "lora"])
def test_frozen_parts_stay_to_the_bit(decoder, shards, train):
    p, b, width = batch_of(decoder, shards, [(0, True), (3, False)])
    net = net_of(decoder, p, width, train)
    before = {n: q.detach().clone() for n, q in net.named_parameters()}
    optimizer = torch.optim.AdamW([q for q in net.parameters() if q.requires_grad], lr=0.01, weight_decay=0.1)
    for _ in range(2):  # a low-rank addition's first factor moves only in the second step
        loss_of(net, b).backward()
        optimizer.step()
        optimizer.zero_grad()
    for name, q in net.named_parameters():
        frozen = {
            "reference": name in ("model.embed_tokens.weight", "lm_head.weight"),
            "projector": "mm_projector" not in name and "audio_rows" not in name,
            "lora": "mm_projector" not in name and "audio_rows" not in name and "lora_" not in name,
        }[train]
        assert torch.equal(before[name], q) == frozen, name


def test_splice(llama, shards):
    p, b, width = batch_of(llama, shards, [(0, True), (3, False)])
    net = net_of(llama, p, width)
    with torch.no_grad():
        x = net.embed(b["ids"], b["audio"], b["frames"], b["counts"])
        table = net.model.embed_tokens(b["ids"])
        for row in range(2):
            at, n = b["audio"][row], b["counts"][row]
            assert torch.allclose(x[row, at : at + n], net.model.mm_projector(b["frames"][row, :n]))
            assert torch.equal(x[row, at - 1], net.model.audio_rows[0]) and torch.equal(x[row, at + n], net.model.audio_rows[1])
            assert torch.equal(x[row, : at - 1], table[row, : at - 1]) and torch.equal(x[row, at + n + 1 :], table[row, at + n + 1 :])


def test_padding_does_not_count(llama, shards):
    p, b, width = batch_of(llama, shards, [(0, True), (9, False)])
    net = net_of(llama, p, width)
    s = data.Shards(shards, "train")
    with torch.no_grad():
        both = model.loss_sum(net(b["ids"], b["audio"], b["frames"], b["counts"]), b["labels"])[0]
        alone = sum(
            model.loss_sum(net(c["ids"], c["audio"], c["frames"], c["counts"]), c["labels"])[0]
            for c in (data.batch(p, s, [x], 2048, torch.device("cpu")) for x in [(0, True), (9, False)])
        )
    assert both.item() == pytest.approx(alone.item(), rel=1e-5)


def test_a_toy_has_heads_that_fit(shards, tmp_path, capsys):
    for heads, hidden in ((9, 288), (5, 160), (4, 36)):
        with pytest.raises(SystemExit):
            toy.main(["--shards", shards, "--out", str(tmp_path / "toy"), "--heads", str(heads), "--hidden", str(hidden)])
        assert "does not fit" in capsys.readouterr().err
    assert toy.main(["--shards", shards, "--out", str(tmp_path / "toy"), "--heads", "3", "--hidden", "96"]) == 0
