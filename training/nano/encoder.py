"""The encoder of lark-nano in JAX. docs/lark-nano.md, section 4, is its specification; the Go service computes the same."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from .data import GROUPS, KEY_COLS, LAGS, LAGS_PER_OCTAVE, MEL, MEL_BANDS, PER_CHORD, PER_TEMPOGRAM, PULSE_COLS, PULSE_LAGS, SEMITONES, SHORTEST_LAG
from .labels import FAMILIES, METRES, SOUNDS, TEMPO_MAX, TEMPO_MIN

WIDTH = 192
SEEN = 72  # semitones that each pitch class sees
REACH = 36  # semitones that the colour branch sees from each place: a fundamental and what sounds above it
BEATS = np.arange(8, 73)  # rows of the pulse that may be a beat: 238 down to 37.5 a minute
# Beats in the lags that are looked at from each beat: parts of a beat, beats, bars, two bars.
RATIOS = (1 / 4, 1 / 3, 1 / 2, 2 / 3, 1, 3 / 2, 2, 5 / 2, 3, 7 / 2, 4, 5, 6, 7, 8)
OFFSETS = np.round(LAGS_PER_OCTAVE * np.log2(RATIOS)).astype(int)
JOINT = len(BEATS) + len(METRES)
LINEARS = {  # name: (inputs, outputs)
    "timbre.conv": (3 * (SEMITONES + MEL), 192), "timbre.hidden": (192, 192), "timbre.pool": (384, 128),
    "harmony.conv": (3 * SEEN, 64), "harmony.chord": (64, 3), "harmony.hidden": (64, 64), "harmony.pool": (128 + KEY_COLS, 64), "harmony.key": (64, 2),
    "colour.conv": (2 * REACH, 64), "colour.hidden": (64, 64), "colour.row": (128, 96), "colour.pool": (192, 96),
    "family.active": (96 + 192, len(FAMILIES)), "family.pool": (128 + 96 + 2 * len(FAMILIES), len(FAMILIES)),
    "rhythm.conv1": (7 * GROUPS, 32), "rhythm.conv2": (7 * 32, 48), "rhythm.dense": (LAGS // 2 * 48, 192),
    "pulse.context": (192 + 128, 64), "pulse.seen": (len(RATIOS) * (2 * PULSE_COLS + 1), 64), "pulse.hidden": (64, 64), "pulse.joint": (64, len(METRES)),
    "mix.global": (128 + 48 + 192 + 96 + len(FAMILIES) + JOINT, 256), "mix.local": (192 + 36 + 96 + len(FAMILIES), WIDTH), "mix.spread": (256, WIDTH),
    "mix.up": (WIDTH, 256), "mix.down": (256, WIDTH),
    "head.tempo": (WIDTH, TEMPO_MAX - TEMPO_MIN + 1), "head.key": (WIDTH, 24), "head.metre": (WIDTH, len(METRES)), "head.drums": (WIDTH, 1),
    "head.families": (WIDTH, len(FAMILIES)), "head.active": (WIDTH, len(FAMILIES)), "head.sound": (WIDTH, len(SOUNDS)),
}  # fmt: skip
NORMS = ["mix.norm", "mix.out"]
DROPOUT = 0.2


def init(seed: int) -> dict[str, jax.Array]:
    """Draw initial weights (LeCun normal)."""
    rng, params = np.random.default_rng(seed), {}
    for name, (inputs, outputs) in LINEARS.items():
        params[name + ".weight"] = jnp.asarray(rng.normal(0, inputs**-0.5, (outputs, inputs)), jnp.float32)
        params[name + ".bias"] = jnp.zeros(outputs, jnp.float32)
    for name in NORMS:
        params[name + ".weight"] = jnp.ones(WIDTH, jnp.float32)
    params["pulse.beat.bias"] = jnp.zeros(len(BEATS), jnp.float32)
    return params


def gelu(x):
    """Return x times the normal distribution function of x."""
    return jax.nn.gelu(x, approximate=False)


def linear(p, name: str, x):
    """Return x W^T + b."""
    return x @ p[name + ".weight"].T + p[name + ".bias"]


def rms(p, name: str, x):
    """Return x scaled to a root mean square of 1, times the norm's weight."""
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-5) * p[name + ".weight"]


def taps(x, count: int, axis: int, stride: int = 1):
    """Join `count` neighbouring rows along the last axis, zero beyond the ends, columns ordered (tap, channel)."""
    side, rows = count // 2, x.shape[axis]
    pad = [(0, 0)] * x.ndim
    pad[axis] = (side, side)
    x = jnp.pad(x, pad)
    return jnp.concatenate([jax.lax.slice_in_dim(x, k, k + rows, stride, axis) for k in range(count)], -1)


def mean_max(x, axis: int):
    """Return the mean and the maximum along an axis, joined."""
    return jnp.concatenate([x.mean(axis), x.max(axis)], -1)


def _highest(x, size: int):
    """Return the maximum of groups of `size` rows of [B, T, ...]; the last group may be shorter."""
    rows = x.shape[1]
    whole = rows // size * size
    out = x[:, :whole].reshape(x.shape[0], -1, size, *x.shape[2:]).max(2)
    return out if whole == rows else jnp.concatenate([out, x[:, whole:].max(1, keepdims=True)], 1)


def _chunks(x, size: int):
    """Average groups of `size` rows of [B, T, ...]; the last group may be shorter."""
    rows = x.shape[1]
    whole = rows // size * size
    out = x[:, :whole].reshape(x.shape[0], -1, size, *x.shape[2:]).mean(2)
    return out if whole == rows else jnp.concatenate([out, x[:, whole:].mean(1, keepdims=True)], 1)


def timbre(p, semitones, mel):
    """Return frames [B, T, 192] and the pooled vector [B, 128]."""
    u = gelu(linear(p, "timbre.conv", taps(jnp.concatenate([semitones, mel], -1), 3, 1)))
    v = u + gelu(linear(p, "timbre.hidden", u))
    return v, gelu(linear(p, "timbre.pool", mean_max(v, 1)))


def harmony(p, semitones, heard):
    """Return chord logits [B, R, 36] and key logits [B, 24]. What engine/mir hears of the keys [B, 12, 56] is read beside what is seen."""
    h = _chunks(semitones, PER_CHORD)
    seen = jnp.stack([h[..., c : c + SEEN] for c in range(12)], 2)
    a = gelu(linear(p, "harmony.conv", taps(seen, 3, 1)))
    b = gelu(linear(p, "harmony.hidden", a))
    q = gelu(linear(p, "harmony.pool", jnp.concatenate([mean_max(b, 1), heard], -1)))
    chord = linear(p, "harmony.chord", a)
    return chord.reshape(*chord.shape[:2], 36), linear(p, "harmony.key", q).reshape(-1, 24)


def colour(p, semitones):
    """Return rows [B, R, 96] and a pooled vector [B, 96]. What lies above a tone is read by the same weights wherever the tone lies."""
    mean, high = _chunks(semitones, PER_CHORD), _highest(semitones, PER_CHORD)
    places = range(SEMITONES - REACH + 1)
    seen = jnp.stack([jnp.concatenate([mean[..., c : c + REACH], high[..., c : c + REACH]], -1) for c in places], 2)
    a = gelu(linear(p, "colour.hidden", gelu(linear(p, "colour.conv", seen))))
    rows = gelu(linear(p, "colour.row", mean_max(a, 2)))
    return rows, gelu(linear(p, "colour.pool", mean_max(rows, 1)))


def families(p, rows, v, pooled, tint):
    """Return logits of the families that sound at each harmony step [B, R, 12], and of those that are there at all [B, 12]."""
    active = linear(p, "family.active", jnp.concatenate([rows, _chunks(v, PER_CHORD)], -1))
    seen = mean_max(jax.nn.sigmoid(active), 1)
    return active, linear(p, "family.pool", jnp.concatenate([pooled, tint, seen], -1))


def rhythm(p, tempograms):
    """Return the rhythm vector [B, 192]."""
    x = gelu(linear(p, "rhythm.conv1", taps(4.0 * tempograms, 7, 2)))
    x = gelu(linear(p, "rhythm.conv2", taps(x, 7, 2, 2)))
    return gelu(linear(p, "rhythm.dense", x.mean(1).reshape(x.shape[0], -1)))


def pulse(p, x, heard, w, pooled):
    """Return logits [B, 65, 6] of each beat with each metre. The same weights read the pulse, and what engine/mir hears [B, 136], from every beat, at lags in proportion to it."""
    heard = jnp.pad(4.0 * heard, [(0, 0), (PULSE_LAGS, PULSE_LAGS)])
    x = jnp.pad(4.0 * x, [(0, 0), (PULSE_LAGS, PULSE_LAGS), (0, 0)])
    near = jnp.maximum(x, jnp.maximum(jnp.roll(x, 1, 1), jnp.roll(x, -1, 1)))  # lags are rounded to rows
    rows = PULSE_LAGS + BEATS[:, None] + OFFSETS[None]
    seen = jnp.concatenate([x[:, rows], near[:, rows]], -1)  # [B, 65, 15, 16]
    context = linear(p, "pulse.context", jnp.concatenate([w, pooled], -1))
    seen = jnp.concatenate([seen.reshape(*seen.shape[:2], -1), heard[:, rows]], -1)
    a = gelu(linear(p, "pulse.seen", seen) + context[:, None])
    return linear(p, "pulse.joint", gelu(linear(p, "pulse.hidden", a))) + p["pulse.beat.bias"][:, None]


def beats_and_metres(joint):
    """Return the probabilities of the beats and of the metres [B, 65 + 6] that the joint logits give."""
    both = jax.nn.softmax(joint.reshape(joint.shape[0], -1)).reshape(joint.shape)
    return jnp.concatenate([both.sum(2), both.sum(1)], -1)


def scale_mel(mel):
    """Scale levels and onsets to about zero mean and unit deviation."""
    return jnp.concatenate([(mel[..., :MEL_BANDS] - 1.25) / 1.1, (mel[..., MEL_BANDS:] - 0.1) / 0.15], -1)


def _drop(x, key):
    return x if key is None else x * jax.random.bernoulli(key, 1 - DROPOUT, x.shape) / (1 - DROPOUT)


def frames(p, b, key=None):
    """Return frames [B, T, 192] of a batch as a dict, and the logits of chords, keys, beats with metres, and families inside. With a random key, the branches are dropped out."""
    keys = [None] * 5 if key is None else jax.random.split(key, 5)
    s = (b["semitones"] - 1.0) / 0.9
    v, pooled = timbre(p, s, scale_mel(b["mel"]))
    chord, tonal = harmony(p, s, b["keys"])
    rows, tint = colour(p, s)
    v, pooled, rows, tint = (_drop(x, k) for x, k in zip((v, pooled, rows, tint), keys[:4], strict=True))
    active, there = families(p, rows, v, pooled, tint)
    w = _drop(rhythm(p, b["tempograms"]), keys[4])
    k = jnp.concatenate([tonal, jax.nn.softmax(tonal)], -1)
    joint = pulse(p, b["pulse"], b["beats"], w, pooled)
    g = gelu(linear(p, "mix.global", jnp.concatenate([pooled, k, w, tint, there, beats_and_metres(joint)], -1)))
    slow = jnp.concatenate([jax.nn.softmax(chord), rows, jax.nn.sigmoid(active)], -1)
    local = jnp.repeat(slow, PER_CHORD, 1)[:, : v.shape[1]]
    x = linear(p, "mix.local", jnp.concatenate([v, local], -1)) + linear(p, "mix.spread", g)[:, None]
    y = x + linear(p, "mix.down", gelu(linear(p, "mix.up", rms(p, "mix.norm", x))))
    return rms(p, "mix.out", y), {"chord": chord, "tonal": tonal, "active": active, "there": there, "joint": joint}


def heads(p, y):
    """Return the linear read-outs of frames as a dict of logits."""
    return {n: linear(p, f"head.{n}", y) for n in ("tempo", "key", "metre", "drums", "families", "active", "sound")}


def beat_place(tempo):
    """Return where a tempo lies among BEATS, in rows."""
    return LAGS_PER_OCTAVE * jnp.log2(60 / jnp.maximum(tempo, 1) / SHORTEST_LAG) - BEATS[0]


def tempograms_for(count: int) -> int:
    """Return how many tempograms go with `count` frames."""
    return -(-count // PER_TEMPOGRAM)
