"""The encoder of Whisper's kind in PyTorch, as the peer of `lark bench audio-llm`: the same weights, the same work, what PyTorch does best on a CPU.

python whisper_torch.py --model BUNDLE --precision f32|bf16 --audio CLIP [--frames OUT]
    encodes one window (float32 samples at 16 kHz), writes the pooled frames as plain float32, and prints one JSON object.

Formulas are those of transformers 5.24.0 (WhisperEncoder with pooling; Qwen2.5-Omni's blocks of two seconds). Matrices are products of oneDNN on weights
that it has packed once, which is what torch.compile with frozen weights makes of a linear layer, with GELU and, in float32, residual sum fused; attention is
scaled_dot_product_attention. bf16 has bfloat16 matrices, convolutions and attention; residual stream and norms stay float32. Only the rows of
the audio are computed, as ours does. Loading, converting and packing are not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import time

import numpy as np
import torch
import torch.nn.functional as F

from jukebox_torch import DTYPES, Linear, resident

WINDOW, MELS, EPS = 480_000, 128, 1e-5


def read_gguf(path: str) -> tuple[dict, dict[str, torch.Tensor]]:
    """Read metadata of plain values and tensors in F32, F16 and BF16 (the GGUF specification, version 3)."""
    raw = np.memmap(path, mode="c")
    at = 24
    tensors, count = struct.unpack_from("<QQ", raw, 8)
    scalars = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

    def take(form: str) -> int:
        nonlocal at
        value = struct.unpack_from("<" + form, raw, at)[0]
        at += struct.calcsize("<" + form)
        return value

    def text() -> str:
        nonlocal at
        size = take("Q")
        at += size
        return bytes(raw[at - size : at]).decode()

    meta, infos = {}, []
    for _ in range(count):
        name, kind = text(), take("I")
        meta[name] = text() if kind == 8 else take(scalars[kind])
    for _ in range(tensors):
        name, dims = text(), take("I")
        shape = [take("Q") for _ in range(dims)][::-1]
        infos.append((name, shape, take("I"), take("Q")))
    start = -(-at // 32) * 32
    types = {0: (torch.float32, 4), 1: (torch.float16, 2), 30: (torch.bfloat16, 2)}
    out = {}
    for name, shape, kind, offset in infos:
        dtype, size = types[kind]
        flat = torch.from_numpy(raw[start + offset : start + offset + size * int(np.prod(shape))])
        out[name] = flat.view(dtype).view(shape).clone()
    return meta, out


class Encoder:
    """Mel front end, stem, layers and pooling."""

    def __init__(self, model: str, precision: str) -> None:
        self.dtype = DTYPES[precision]
        meta, t = read_gguf(os.path.join(model, "encoder.gguf"))
        self.heads, self.block = meta["whisper.heads"], meta["whisper.block"]
        self.width = t["a.post_ln.weight"].numel()
        self.convs = [(t[f"a.conv1d.{i}.weight"].to(self.dtype), t[f"a.conv1d.{i}.bias"].to(self.dtype).flatten()) for i in (1, 2)]
        self.positions = t["a.position_embd.weight"].float() if "a.position_embd.weight" in t else self.sinusoids()
        self.norm = (t["a.post_ln.weight"], t["a.post_ln.bias"])
        rows = (self.block or 3000) // 2
        self.layers = []
        while f"a.blk.{len(self.layers)}.ln1.weight" in t:
            self.layers.append(self.layer(t, f"a.blk.{len(self.layers)}.", rows))
        self.filters = torch.from_numpy(slaney())

    def sinusoids(self) -> torch.Tensor:
        half = self.width // 2
        rate = torch.exp(-np.log(10000) / (half - 1) * torch.arange(half))
        angle = torch.arange(self.block // 2)[:, None] * rate
        return torch.cat([angle.sin(), angle.cos()], 1)

    def layer(self, t: dict, name: str, rows: int) -> dict:
        def linear(weight: torch.Tensor, bias: torch.Tensor, activation: str = "none") -> Linear:
            return Linear(weight.float().t().contiguous(), bias.float(), self.dtype, rows, activation)

        zero = torch.zeros(self.width)
        qkv = torch.cat([t[f"{name}attn_{k}.weight"].float() for k in "qkv"])
        bias = torch.cat([t[f"{name}attn_q.bias"].float(), zero, t[f"{name}attn_v.bias"].float()])
        return {
            "ln1": (t[name + "ln1.weight"], t[name + "ln1.bias"]), "ln2": (t[name + "ln2.weight"], t[name + "ln2.bias"]),
            "qkv": linear(qkv, bias), "out": linear(t[name + "attn_out.weight"], t[name + "attn_out.bias"]),
            "up": linear(t[name + "ffn_up.weight"], t[name + "ffn_up.bias"]), "down": linear(t[name + "ffn_down.weight"], t[name + "ffn_down.bias"]),
        }

    def mel(self, samples: torch.Tensor) -> torch.Tensor:
        """The log-mel spectrogram [mels, frames] of a window of 30 s, cut to the audio's frames (and the two behind it, for the stem)."""
        padded = 300 * 16000 if self.block else WINDOW
        frames = -(-len(samples) // 160)
        x = F.pad(samples, (0, padded - len(samples)))
        power = torch.stft(x, 400, 160, window=torch.hann_window(400), return_complex=True)[:, :-1].abs() ** 2
        out = (self.filters @ power).clamp(min=1e-10).log10()
        out = (torch.maximum(out, out.max() - 8) + 4) / 4
        return out[:, : frames if self.block else min(frames + 2, 3000)]

    def stem(self, mel: torch.Tensor) -> torch.Tensor:
        x = F.gelu(F.conv1d(mel.to(self.dtype), *self.convs[0], padding=1))
        return F.gelu(F.conv1d(x, *self.convs[1], stride=2, padding=1)).transpose(1, 2).float()

    def encode(self, samples: torch.Tensor) -> torch.Tensor:
        mel = self.mel(samples)
        rows = (-(-len(samples) // 160) + 1) // 2
        if not self.block:
            x = self.stem(mel[None])[:, :rows]
            return self.pool(self.run(x + self.positions[:rows]))
        parts = mel.split(self.block, 1)
        whole = [p for p in parts if p.shape[1] == self.block]
        frames = [self.pool(self.run(self.stem(torch.stack(whole)) + self.positions[: self.block // 2]))] if whole else []
        if len(whole) < len(parts):
            x = self.stem(parts[-1][None])
            frames.append(self.pool(self.run(x + self.positions[: x.shape[1]])))
        return torch.cat(frames)

    def run(self, x: torch.Tensor) -> torch.Tensor:
        """Run the layers on [batch, rows, width]."""
        shape = x.shape
        x = x.reshape(-1, self.width).contiguous()
        for layer in self.layers:
            u = F.layer_norm(x, (self.width,), *layer["ln1"], eps=EPS).to(self.dtype)
            q, k, v = layer["qkv"](u).view(shape[0], shape[1], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            a = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(-1, self.width)
            x = layer["out"].add_to(x, a)
            u = F.layer_norm(x, (self.width,), *layer["ln2"], eps=EPS).to(self.dtype)
            up = layer["up"]
            hidden = torch.ops.mkldnn._linear_pointwise(u, up.weight, up.bias, "gelu", [], "none")
            x = layer["down"].add_to(x, hidden)
        return x.view(shape)

    def pool(self, x: torch.Tensor) -> torch.Tensor:
        even = x[:, : x.shape[1] // 2 * 2]
        frames = (even[:, ::2] + even[:, 1::2]) / 2
        return F.layer_norm(frames, (self.width,), *self.norm, eps=EPS).reshape(-1, self.width)


def slaney() -> np.ndarray:
    """The mel filters [mels, bins] on Slaney's scale with his normalisation."""
    top = 15 + 27 * np.log(8) / np.log(6.4)
    mels = np.linspace(0, top, MELS + 2)
    edges = np.where(mels < 15, 200 * mels / 3, 1000 * np.exp(np.log(6.4) / 27 * (mels - 15)))
    bins = np.linspace(0, 8000, 201)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rise, fall = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return (np.maximum(0, np.minimum(rise, fall)) * 2 / (right - left)).astype(np.float32)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--precision", choices=DTYPES, required=True)
    parser.add_argument("--audio", required=True)
    parser.add_argument("--frames")
    args = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with torch.inference_mode():
        encoder = Encoder(args.model, args.precision)
        samples = torch.from_numpy(np.fromfile(args.audio, np.float32))
        processor, wall = time.process_time(), time.perf_counter()
        frames = encoder.encode(samples)
        processor, wall = time.process_time() - processor, time.perf_counter() - wall
    if args.frames:
        frames.float().numpy().tofile(args.frames)
    about = {"system": f"PyTorch {torch.__version__}", "precision": args.precision, "layers": len(encoder.layers), "core_seconds": processor, "wall_seconds": wall}
    print(json.dumps(about | {"parts": [], "memory": resident()}))


if __name__ == "__main__":
    main()
