"""A decoder of Llama-2's or Qwen2's layout with a linear projector for audio frames, in plain PyTorch. Weights have the names of Hugging Face's files."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import torch
from safetensors import safe_open
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


@dataclass
class Shape:
    """Sizes of a decoder, from config.json."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    norm_eps: float
    rope: float
    qkv_bias: bool
    tied: bool
    config: dict

    @staticmethod
    def read(folder: str) -> Shape:
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
            c = json.load(f)
        kind = c.get("model_type")
        if kind not in ("llama", "qwen2"):
            raise ValueError(f"{folder}: model_type {kind!r} is neither llama nor qwen2")
        if c.get("head_dim", c["hidden_size"] // c["num_attention_heads"]) * c["num_attention_heads"] != c["hidden_size"]:
            raise ValueError(f"{folder}: heads do not add up to hidden_size")
        rope = c.get("rope_theta") or (c.get("rope_parameters") or {}).get("rope_theta") or 10000.0
        return Shape(
            c["hidden_size"], c["num_hidden_layers"], c["num_attention_heads"], c.get("num_key_value_heads") or c["num_attention_heads"],
            c["intermediate_size"], c["vocab_size"], c.get("rms_norm_eps", 1e-6), rope, kind == "qwen2", c.get("tie_word_embeddings", False), c,
        )  # fmt: skip


def wide(x: torch.Tensor) -> torch.Tensor:
    """At least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Norm(nn.Module):
    """RMSNorm, in float32 or more whatever the input."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = wide(x)
        return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.weight


class Attention(nn.Module):
    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.shape, width = s, s.hidden // s.heads
        self.q_proj = nn.Linear(s.hidden, s.hidden, bias=s.qkv_bias)
        self.k_proj = nn.Linear(s.hidden, s.kv_heads * width, bias=s.qkv_bias)
        self.v_proj = nn.Linear(s.hidden, s.kv_heads * width, bias=s.qkv_bias)
        self.o_proj = nn.Linear(s.hidden, s.hidden, bias=False)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        b, t, _ = x.shape
        q, k, v = (p(x).view(b, t, -1, self.shape.hidden // self.shape.heads).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        # Padding stands behind the text, so that the causal mask hides it from all that counts.
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.shape.kv_heads != self.shape.heads)
        return self.o_proj(o.transpose(1, 2).reshape(b, t, -1))


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions as in Hugging Face's Llama: the halves of a head are the pairs."""
    a, b = x.chunk(2, dim=-1)
    return (x * cos + torch.cat((-b, a), dim=-1) * sin).to(x.dtype)


class FeedForward(nn.Module):
    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(s.hidden, s.ffn, bias=False)
        self.up_proj = nn.Linear(s.hidden, s.ffn, bias=False)
        self.down_proj = nn.Linear(s.ffn, s.hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(s), FeedForward(s)
        self.input_layernorm, self.post_attention_layernorm = Norm(s.hidden, s.norm_eps), Norm(s.hidden, s.norm_eps)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, s: Shape, width: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(s.vocab, s.hidden)
        self.layers = nn.ModuleList(Block(s) for _ in range(s.layers))
        self.norm = Norm(s.hidden, s.norm_eps)
        self.mm_projector = nn.Linear(width, s.hidden)
        # Rows of <audio_start> and <audio_end>, apart from the table so that the rest of it can stay as it is to the bit.
        self.audio_rows = nn.Parameter(torch.zeros(2, s.hidden))


class Llark(nn.Module):
    """width is that of the encoder's frames; start and end are the ids of <audio_start> and <audio_end>."""

    def __init__(self, shape: Shape, width: int, start: int, end: int) -> None:
        super().__init__()
        self.shape, self.width, self.start, self.end = shape, width, start, end
        self.model = Decoder(shape, width)
        self.lm_head = nn.Linear(shape.hidden, shape.vocab, bias=False)
        if shape.tied:
            self.lm_head.weight = self.model.embed_tokens.weight
        self.gradient_checkpointing = False

    def forward(self, ids: torch.Tensor, audio: torch.Tensor, frames: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Logits [batch, tokens, vocab]. Row b has counts[b] of the frames [batch, most, width] at tokens audio[b] .. audio[b] + counts[b]."""
        x = self.embed(ids, audio, frames, counts)
        cos, sin = self.positions(ids.shape[1], x)
        for block in self.model.layers:
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, cos, sin, use_reentrant=False)
            else:
                x = block(x, cos, sin)
        return self.lm_head(self.model.norm(x))

    def embed(self, ids: torch.Tensor, audio: torch.Tensor, frames: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        m = self.model
        x = m.embed_tokens(ids)
        rows = m.audio_rows.to(x.dtype)
        x = torch.where((ids == self.start).unsqueeze(-1), rows[0], x)
        x = torch.where((ids == self.end).unsqueeze(-1), rows[1], x)
        soft = m.mm_projector(frames).to(x.dtype)
        at = torch.arange(ids.shape[1], device=ids.device) - audio.unsqueeze(1)  # which frame stands at each token
        inside = (at >= 0) & (at < counts.unsqueeze(1))
        gathered = torch.gather(soft, 1, at.clamp(0, soft.shape[1] - 1).unsqueeze(-1).expand(-1, -1, soft.shape[2]))
        return torch.where(inside.unsqueeze(-1), gathered, x)

    def positions(self, n: int, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        half = torch.arange(0, self.shape.hidden // self.shape.heads, 2, device=x.device, dtype=torch.float32)
        turn = self.shape.rope ** (-half / (self.shape.hidden // self.shape.heads))
        angle = torch.outer(torch.arange(n, device=x.device, dtype=torch.float32), turn)
        angle = torch.cat((angle, angle), dim=-1)
        return angle.cos(), angle.sin()

    @torch.no_grad()
    def answer(self, ids: list[int], audio: int, frames: torch.Tensor, most: int, ends: callable) -> list[int]:
        """Greedy decoding, everything computed anew for each token: for samples, not for serving."""
        device = self.lm_head.weight.device
        out: list[int] = []
        at, counts = torch.tensor([audio], device=device), torch.tensor([frames.shape[0]], device=device)
        while len(out) < most and not ends(out):
            logits = self(torch.tensor([ids + out], device=device), at, frames.unsqueeze(0).to(device), counts)
            out.append(int(logits[0, -1].argmax()))
        return out


def weights_of(folder: str) -> dict[str, str]:
    """Which file of a Hugging Face folder holds each tensor. Only safetensors are read: nothing in them is executed."""
    index = os.path.join(folder, "model.safetensors.index.json")
    if os.path.exists(index):
        with open(index, encoding="utf-8") as f:
            return {name: os.path.join(folder, os.path.basename(file)) for name, file in json.load(f)["weight_map"].items()}
    path = os.path.join(folder, "model.safetensors")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{folder} holds no model.safetensors: convert the model's weights to safetensors")
    with safe_open(path, "pt") as f:
        return dict.fromkeys(f.keys(), path)


def load(folder: str, width: int, prompts) -> Llark:
    """Reads a Hugging Face folder. Rows of new tokens start as the mean of all rows (as LLaVA's do); a projector that is not there starts at random."""
    shape = Shape.read(folder)
    had = shape.vocab
    shape.vocab = max(had, prompts.size)
    model = Llark(shape, width, prompts.added["<audio_start>"], prompts.added["<audio_end>"])
    files = weights_of(folder)
    tensors = dict(model.named_parameters())
    with torch.no_grad():
        for name, target in tensors.items():
            if name == "model.audio_rows":
                continue
            if name not in files:
                if name.startswith("model.mm_projector."):
                    continue
                raise KeyError(f"{folder} has no tensor {name}")
            with safe_open(files[name], "pt") as f:
                value = f.get_tensor(name).float()
            if value.shape[0] < target.shape[0] and value.shape[1:] == target.shape[1:]:
                value = torch.cat((value, value.mean(0, keepdim=True).expand(target.shape[0] - value.shape[0], *value.shape[1:])))
            if value.shape != target.shape:
                raise ValueError(f"{folder}: {name} is {tuple(value.shape)}, expected {tuple(target.shape)}")
            target.copy_(value)
        model.model.audio_rows.copy_(model.model.embed_tokens.weight[[model.start, model.end]])
    return model


def freeze(model: Llark, train: str) -> None:
    """What is trained. reference: blocks, norms, projector and the rows of <audio_start> and <audio_end>, as LLark. projector: only that and the rows.
    lora: as projector, with low-rank additions to the blocks. all: the table of tokens and lm_head too, for a decoder from nothing."""
    for name, p in model.named_parameters():
        audio = "mm_projector" in name or name.endswith("audio_rows")
        p.requires_grad = {
            "all": True,
            "reference": audio or not name.endswith(("embed_tokens.weight", "lm_head.weight")),
            "projector": audio,
            "lora": audio or ".lora_" in name,
        }[train]


class LoRA(nn.Module):
    """y = Wx + scale * B(Ax), with W frozen and B starting at zero (Hu et al., 2021)."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base, self.scale = base, alpha / rank
        self.lora_a = nn.Parameter(torch.randn(rank, base.in_features) / rank)
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.scale * F.linear(F.linear(x, self.lora_a), self.lora_b)

    def merged(self) -> torch.Tensor:
        return self.base.weight + self.scale * (self.lora_b @ self.lora_a)


def add_lora(model: Llark, rank: int, alpha: float) -> None:
    for block in model.model.layers:
        for owner in (block.self_attn, block.mlp):
            for name, child in list(owner.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(owner, name, LoRA(child, rank, alpha))


def loss_sum(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum of the cross entropy over labelled tokens, and how many they are."""
    flat = labels[:, 1:].reshape(-1)
    total = F.cross_entropy(wide(logits[:, :-1].reshape(-1, logits.shape[-1])), flat, ignore_index=-100, reduction="sum")
    return total, (flat != -100).sum()
