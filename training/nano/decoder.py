"""The projector and the Llama-layout decoder of lark-nano in JAX. docs/lark-nano.md, sections 5 and 6, is the specification."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from .encoder import WIDTH

EPS, ROPE_BASE = 1e-5, 10000.0


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder."""

    vocab: int
    layers: int = 3
    hidden: int = 192
    heads: int = 4
    ffn: int = 384


def init(seed: int, shape: Shape) -> dict[str, jax.Array]:
    """Draw initial weights under their Hugging Face names, the projector's among them."""
    rng, d, p = np.random.default_rng(seed), shape.hidden, {}

    def normal(name: str, outputs: int, inputs: int, scale: float) -> None:
        p[name + ".weight"] = jnp.asarray(rng.normal(0, scale, (outputs, inputs)), jnp.float32)

    normal("model.mm_projector", d, WIDTH, 0.5 * WIDTH**-0.5)
    p["model.mm_projector.bias"] = jnp.zeros(d, jnp.float32)
    normal("model.embed_tokens", shape.vocab, d, 0.2)
    for n in range(shape.layers):
        layer = f"model.layers.{n}."
        for part in "qkv":
            normal(f"{layer}self_attn.{part}_proj", d, d, d**-0.5)
        normal(layer + "self_attn.o_proj", d, d, d**-0.5 * (2 * shape.layers) ** -0.5)
        normal(layer + "mlp.gate_proj", shape.ffn, d, d**-0.5)
        normal(layer + "mlp.up_proj", shape.ffn, d, d**-0.5)
        normal(layer + "mlp.down_proj", d, shape.ffn, shape.ffn**-0.5 * (2 * shape.layers) ** -0.5)
        for norm in ("input", "post_attention"):
            p[f"{layer}{norm}_layernorm.weight"] = jnp.ones(d, jnp.float32)
    p["model.norm.weight"] = jnp.ones(d, jnp.float32)
    normal("lm_head", shape.vocab, d, 0.02)
    return p


def smooth_numbers(p, ids: np.ndarray, tempi: np.ndarray) -> None:
    """Start the rows of the tempo tokens as waves of log tempo, so that near tempi begin as near tokens."""
    d = p["lm_head.weight"].shape[1]
    waves = np.linspace(0.5, 40, d // 2)[None] * np.log(tempi / 90.0)[:, None]
    rows = np.concatenate([np.cos(waves), np.sin(waves)], 1)
    for name, scale in (("model.embed_tokens.weight", 0.2), ("lm_head.weight", 0.05)):
        p[name] = p[name].at[ids].set(scale * rows)


READOUT_GAIN = 2.0


def carry_readouts(p, weight: np.ndarray, bias: np.ndarray, frames: np.ndarray) -> None:
    """Make the projector write linear read-outs of the frames where the decoder can see them.

    Facts such as the metre lie in directions of the frames that vary little, and a decoder finds them slowly. The read-outs
    (weight [n, 192], bias [n]) are scaled to a deviation of 1 over the given frames and added along the n directions that the first layer heeds least.
    """
    logits = frames @ weight.T + bias
    mean, spread = logits.mean(0), logits.std(0) + 1e-3
    layer = "model.layers.0."
    parts = ["self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"]
    seen = np.concatenate([np.asarray(p[f"{layer}{n}.weight"]) for n in parts])
    along = np.linalg.svd(seen, full_matrices=False)[2][-len(weight) :]
    along = READOUT_GAIN * along
    p["model.mm_projector.weight"] = p["model.mm_projector.weight"] + jnp.asarray(along.T @ (weight / spread[:, None]), jnp.float32)
    p["model.mm_projector.bias"] = p["model.mm_projector.bias"] + jnp.asarray(along.T @ ((bias - mean) / spread), jnp.float32)


def project(p, frames):
    """Return frames in the decoder's width."""
    return frames @ p["model.mm_projector.weight"].T + p["model.mm_projector.bias"]


def rms(x, weight):
    """Return x scaled to a root mean square of 1, times the weight."""
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + EPS) * weight


def rotate(x, positions):
    """Apply rotary positions in the rotate_half form to x [B, L, H, D] at positions [B, L]."""
    half = x.shape[-1] // 2
    angle = positions[..., None, None] * (ROPE_BASE ** (-jnp.arange(half) / half))
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * jnp.cos(angle) - b * jnp.sin(angle), b * jnp.cos(angle) + a * jnp.sin(angle)], -1)


HIDDEN = -1e9  # bias of a column that a row may not see


def causal(length: int):
    """Return the bias [1, L, L] with which each row sees itself and what is before it."""
    at = jnp.arange(length)
    return jnp.where(at[:, None] >= at[None], 0.0, HIDDEN)[None]


def run(p, shape: Shape, x, positions, bias):
    """Return hidden states [B, L, d] of embeddings x at positions [B, L]; bias [B, L, L] is added to the scores of row and column."""
    b, length, d = x.shape
    for n in range(shape.layers):
        w = {k.removeprefix(f"model.layers.{n}.").removesuffix(".weight"): v for k, v in p.items() if k.startswith(f"model.layers.{n}.")}
        h = rms(x, w["input_layernorm"])
        q, k, v = ((h @ w[f"self_attn.{part}_proj"].T).reshape(b, length, shape.heads, -1) for part in "qkv")
        q, k = rotate(q, positions), rotate(k, positions)
        scores = jnp.einsum("bihd,bjhd->bhij", q, k) * q.shape[-1] ** -0.5
        weights = jax.nn.softmax(scores + bias[:, None])
        x = x + jnp.einsum("bhij,bjhd->bihd", weights, v).reshape(b, length, d) @ w["self_attn.o_proj"].T
        h = rms(x, w["post_attention_layernorm"])
        x = x + (jax.nn.silu(h @ w["mlp.gate_proj"].T) * (h @ w["mlp.up_proj"].T)) @ w["mlp.down_proj"].T
    return rms(x, p["model.norm.weight"])


def logits(p, hidden):
    """Return the scores of the next token."""
    return hidden @ p["lm_head.weight"].T
