"""The Jukebox encoder in PyTorch, as the peer of `lark bench encoder`: the same weights, the same work, what PyTorch does best on a CPU.

python jukebox_torch.py --model BUNDLE --precision f32|bf16 --audio CLIP.wav [--layers N] [--frames OUT] [--codes OUT]
    encodes one clip, writes frames and codes as plain float32 and int32, and prints one JSON object: processor and wall seconds
    by part, and memory.
python jukebox_torch.py --model BUNDLE --precision f32|bf16 --golden FOLDER
    compares codes and frames of every clip in a folder of expected outputs.

Matrices are products of oneDNN on weights that it has packed once, which is what torch.compile with frozen weights makes of a linear
layer, with activation and, in float32, residual sum fused; attention is scaled_dot_product_attention on blocks. bf16 has bfloat16
matrices and attention; residual stream, norms and VQ-VAE stay float32. Loading, converting and packing are not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import wave

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open

HOP, FRAME, DOWNS, DILATIONS = 128, 34, (3, 2, 2), (1, 3, 9, 27)
TIME_BINS, TOTAL, LONGEST = 128, 2734080, 600 * 44100
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
GELU = 1.702  # t·sigmoid(1.702 t) = silu(1.702 t) / 1.702: the factors go into the weights around it
QUANTISE_ROWS = 1024


class Clock:
    """Adds up processor time and keeps the most memory seen, part by part."""

    def __init__(self) -> None:
        self.part, self.since, self.seconds, self.memory = "", 0.0, {}, {}

    def mark(self, part: str) -> None:
        """End the part in hand and begin another."""
        now = time.process_time()
        if self.part:
            self.seconds[self.part] = self.seconds.get(self.part, 0.0) + now - self.since
        for name, size in resident().items():
            self.memory[name] = max(self.memory.get(name, 0), size)
        self.part, self.since = part, time.process_time()


def resident() -> dict[str, int]:
    """Return the resident memory in bytes: all at its peak, and now what is the process's own and what are pages of files."""
    names = {"VmHWM": "peak_bytes", "RssAnon": "anonymous_bytes", "RssFile": "file_bytes"}
    try:
        with open("/proc/self/status") as status:
            lines = [line.split() for line in status]
    except OSError:
        return {}
    return {names[line[0][:-1]]: int(line[1]) << 10 for line in lines if line[0][:-1] in names}


class Linear:
    """x·W + b, W as stored [in, out], with an optional activation fused."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, dtype: torch.dtype, rows: int, activation: str = "none") -> None:
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.t().to(dtype).contiguous(), rows)
        self.bias, self.activation = bias.to(dtype), activation

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, self.activation, [], "")

    def add_to(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return residual + x·W + b."""
        if x.dtype == residual.dtype:
            return torch.ops.mkldnn._linear_pointwise(x, residual, self.weight, self.bias, "add")
        return residual.add_(self(x))


class Encoder:
    """The level-2 encoder of the VQ-VAE and the first layers of the prior."""

    def __init__(self, path: str, precision: str, layers: int) -> None:
        self.dtype, self.clock = DTYPES[precision], Clock()
        with safe_open(path, framework="pt") as file:
            self.file, about = file, file.metadata()
            self.heads, self.blocks = int(about["heads"]), int(about["blocks"])
            self.all_layers = int(about["layers"])
            self.codes_table, self.positions = self.copy("prior.x_emb.weight"), self.copy("prior.pos_emb.pos_emb")
            self.context, self.width = self.positions.shape
            self.condition(self.context)
            self.codebook = self.copy("bottleneck.level_blocks.2.k")
            self.convs = self.load_convs()
            self.layers = [self.load_layer(f"prior.transformer._attn_mods.{d}.") for d in range(layers or self.all_layers)]
        del self.file

    def copy(self, name: str) -> torch.Tensor:
        """Return a tensor in memory of its own, so that the file's pages need not stay."""
        return self.file.get_tensor(name).clone()

    def condition(self, n: int) -> None:
        """Add to every position what the reference conditions all clips with; the start stands for the code before the first."""
        total, absolute, relative = (self.file.get_tensor(f"y_emb.{k}_emb.emb.weight") for k in ("total_length", "absolute_pos", "relative_pos"))
        samples = torch.arange(n) * HOP
        self.positions += total[0] + absolute[TIME_BINS * samples // LONGEST] + relative[TIME_BINS * samples // TOTAL]
        self.start = self.copy("y_emb.bow_genre_emb.emb.weight")[0] + self.copy("y_emb.artist_emb.emb.weight")[0]

    def load_convs(self) -> list[tuple]:
        """List the steps: strided and output convolutions as pairs of weight and bias, residual units as pairs of those.

        They are convolutions over pictures of one row with channels last, which are faster than those over time.
        """
        steps = []

        def conv(name: str) -> tuple[torch.Tensor, torch.Tensor]:
            return self.copy(name + ".weight")[:, :, None].contiguous(memory_format=torch.channels_last), self.copy(name + ".bias")

        for block, downs in enumerate(DOWNS):
            prefix = f"encoders.2.level_blocks.{block}.model."
            for i in range(downs):
                steps.append(("down", conv(f"{prefix}{i}.0")))
                for unit, dilation in enumerate(DILATIONS):
                    name = f"{prefix}{i}.1.model.{unit}.model."
                    steps.append(("unit", conv(name + "1"), conv(name + "3"), dilation))
            steps.append(("out", conv(f"{prefix}{downs}")))
        return steps

    def load_layer(self, name: str) -> dict:
        def linear(part: str, into: float = 1, out_of: float = 1, activation: str = "none") -> Linear:
            weight, bias = self.file.get_tensor(f"{name}{part}.w").float() * (into / out_of), self.copy(f"{name}{part}.b") * into
            return Linear(weight, bias, self.dtype, self.context, activation)

        norms = {n: (self.copy(f"{name}{n}.weight"), self.copy(f"{name}{n}.bias")) for n in ("ln_0", "ln_1")}
        return norms | {
            "attn": linear("attn.c_attn"), "attn_out": linear("attn.c_proj"),
            "mlp_in": linear("mlp.c_fc", into=GELU, activation="swish"), "mlp_out": linear("mlp.c_proj", out_of=GELU),
        }

    def encode(self, pcm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turn 16-bit samples into codes of the whole window and frames [n, width]."""
        self.clock.mark("vq-vae")
        codes = self.quantise(self.latents(self.normalise(pcm)))
        self.clock.mark("rest")
        n = min(len(pcm) // HOP, self.context) // FRAME
        block = self.context // self.blocks
        x = self.prior(codes, -(-n * FRAME // block) * block)
        frames = x[: n * FRAME].view(n, FRAME, self.width).mean(1)
        self.clock.mark("")
        return codes.int().numpy(), frames.numpy()

    def normalise(self, pcm: np.ndarray) -> torch.Tensor:
        x = torch.from_numpy(pcm.astype(np.float32) / 32768)
        peak = x.abs().max()
        x = x / peak if peak > 0 else x
        return F.pad(x[: self.context * HOP], (0, max(0, self.context * HOP - len(x))))

    def latents(self, x: torch.Tensor) -> torch.Tensor:
        """Run the convolutions; [context, code width]."""
        x = x[None, None, None].contiguous(memory_format=torch.channels_last)
        for kind, conv, *rest in self.convs:
            if kind == "down":
                x = F.conv2d(x, *conv, stride=(1, 2), padding=(0, 1))
            elif kind == "out":
                x = F.conv2d(x, *conv, padding=(0, 1))
            else:
                narrow, dilation = rest
                h = F.conv2d(F.relu(x), *conv, dilation=(1, dilation), padding=(0, dilation))
                x = x.add_(F.conv2d(h.relu_(), *narrow))
        return x[0, :, 0].t().contiguous()

    def quantise(self, latents: torch.Tensor) -> torch.Tensor:
        lengths, entries = (latents**2).sum(1, keepdim=True), (self.codebook**2).sum(1)
        parts = zip(latents.split(QUANTISE_ROWS), lengths.split(QUANTISE_ROWS))
        return torch.cat([(length - 2 * part @ self.codebook.t() + entries).argmin(1) for part, length in parts])

    def prior(self, codes: torch.Tensor, n: int) -> torch.Tensor:
        """Run n positions through the layers; n is a whole number of blocks."""
        x = torch.cat([self.start[None], self.codes_table[codes[: n - 1]]]).add_(self.positions[:n])
        mark = self.clock.mark
        for d, layer in enumerate(self.layers):
            mark("rest")
            u = F.layer_norm(x, (self.width,), *layer["ln_0"], eps=1e-5).to(self.dtype)
            mark("projections")
            qkv = layer["attn"](u)
            mark("attention")
            a = self.attend(d % 3, qkv, n)
            mark("projections")
            x = layer["attn_out"].add_to(x, a)
            mark("rest")
            u = F.layer_norm(x, (self.width,), *layer["ln_1"], eps=1e-5).to(self.dtype)
            mark("mlp")
            x = layer["mlp_out"].add_to(x, layer["mlp_in"](u))
        mark("rest")
        return x

    def attend(self, pattern: int, qkv: torch.Tensor, n: int) -> torch.Tensor:
        """Attend within blocks, across them, or to the block before; [n, state]."""
        block = self.context // self.blocks
        cut = qkv.view(n // block, block, 3, self.heads, -1)
        q, k, v = cut.unbind(2)  # [block, position, head, value]
        if pattern == 1:  # a batch of columns instead of one of blocks
            q, k, v = (t.permute(1, 2, 0, 3) for t in (q, k, v))
            return F.scaled_dot_product_attention(q, k, v, is_causal=True).permute(2, 0, 1, 3).flatten(2).flatten(0, 1)
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        if pattern == 0:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2).flatten(0, 1)
        out = F.scaled_dot_product_attention(q[1:], k[:-1], v[:-1]).transpose(1, 2).flatten(2).flatten(0, 1)
        return F.pad(out, (0, 0, block, 0))  # the first block sees zeros


def read_wav(path: str) -> np.ndarray:
    """Read 16-bit mono samples at 44.1 kHz."""
    with wave.open(path) as clip:
        if (clip.getnchannels(), clip.getsampwidth(), clip.getframerate()) != (1, 2, 44100):
            raise SystemExit(f"reading {path}: it is not 16-bit mono at 44.1 kHz")
        return np.frombuffer(clip.readframes(clip.getnframes()), "<i2")


def golden(encoder: Encoder, folder: str) -> None:
    """Compare every clip; codes must be equal, frames within 5e-5 in float32 and 1 % of their length in bfloat16."""
    for name in ("long", "medium", "short", "silence", "edge"):
        codes, frames = encoder.encode(read_wav(os.path.join(folder, name + ".wav")))
        want = np.load(os.path.join(folder, name + "_pooled.npy"))
        wrong = int((codes != np.load(os.path.join(folder, name + "_codes.npy"))).sum())
        worst, relative = np.abs(frames - want).max(), np.linalg.norm(frames - want) / np.linalg.norm(want)
        print(f"{name}: {wrong} codes differ; frames differ by at most {worst:.2g}, {relative:.2g} of their length")
        if wrong or frames.shape != want.shape or relative > 0.01 or (encoder.dtype == torch.float32 and worst > 5e-5):
            raise SystemExit(f"{name} is not what the reference computes")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--precision", choices=DTYPES, required=True)
    parser.add_argument("--layers", type=int, default=0)
    for name in ("--audio", "--golden", "--codes", "--frames"):
        parser.add_argument(name)
    args = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with torch.inference_mode():
        encoder = Encoder(os.path.join(args.model, "encoder.safetensors"), args.precision, args.layers)
        if args.golden:
            return golden(encoder, args.golden)
        pcm = read_wav(args.audio)
        processor, wall = time.process_time(), time.perf_counter()
        codes, frames = encoder.encode(pcm)
        processor, wall = time.process_time() - processor, time.perf_counter() - wall
    for path, values in ((args.codes, codes), (args.frames, frames)):
        if path:
            values.tofile(path)
    parts = [{"name": name, "core_seconds": seconds} for name, seconds in sorted(encoder.clock.seconds.items())]
    about = {"system": f"PyTorch {torch.__version__}", "precision": args.precision, "layers": len(encoder.layers), "core_seconds": processor, "wall_seconds": wall}
    print(json.dumps(about | {"parts": parts, "memory": encoder.clock.memory}))


if __name__ == "__main__":
    main()
