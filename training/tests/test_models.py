"""Gradients against finite differences, and packed rows against questions asked alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nano import data, decoder, encoder, export, facts, packing, questions, train_decoder, train_encoder
from nano.tokenizer import Tokenizer, make_vocab


def slope_error(f, params) -> float:
    """Return the relative difference between the gradient along a random direction and the central difference."""
    rng = np.random.default_rng(0)
    along = {k: jnp.asarray(rng.normal(size=v.shape)) for k, v in params.items()}
    step = lambda e: {k: v + e * along[k] for k, v in params.items()}  # noqa: E731
    grads = jax.grad(f)(params)
    slope = sum(float((grads[k] * along[k]).sum()) for k in params)
    eps = 1e-6
    return abs((float(f(step(eps))) - float(f(step(-eps)))) / (2 * eps) / slope - 1)


def batch(rng, frames=20):
    """Return a random batch of two clips, the second without music."""
    grams, steps = encoder.tempograms_for(frames), -(-frames // data.PER_CHORD)
    return {
        "semitones": rng.random((2, frames, data.SEMITONES)), "mel": rng.random((2, frames, data.MEL)),
        "tempograms": rng.normal(size=(2, grams, data.LAGS, data.GROUPS)), "pulse": rng.normal(size=(2, data.PULSE_LAGS, data.PULSE_COLS)),
        "keys": rng.normal(size=(2, 12, data.KEY_COLS)), "beats": rng.random((2, data.PULSE_LAGS)), "tempo": np.array([100.0, 0]), "key": np.array([5, -1]),
        "metre": np.array([1, -1]), "drums": np.array([1.0, 0]), "families": rng.integers(0, 2, (2, 12)).astype(float),
        "music": np.array([1.0, 0]), "whole": np.array([1.0, 0]), "sound": np.array([0, 3]), "chords": np.full((2, steps), 7),
        "active": rng.integers(0, 2, (2, steps, 12)).astype(float),
    }  # fmt: skip


def test_encoder_gradient():
    with jax.enable_x64(True):
        params = {k: jnp.asarray(v, jnp.float64) for k, v in encoder.init(1).items()}
        b = batch(np.random.default_rng(2))
        loss = jax.jit(lambda p: sum(train_encoder.losses(p, b, None).values()))
        assert slope_error(loss, params) < 1e-5


def test_a_recording_teaches_what_is_labelled_of_it(tmp_path):
    """Of a recording with a key alone only the key is learnt: what is not labelled changes no loss."""
    clips = data.Clips(str(tmp_path))
    clips.labels.append({"key": "D", "mode": "minor"})
    for name, shape in {"semitones": (data.FRAMES, data.SEMITONES), "mel": (data.FRAMES, data.MEL), "tempograms": (17, data.LAGS, data.GROUPS), "pulse": (data.PULSE_LAGS, data.PULSE_COLS),
                        "keys": (12, data.KEY_COLS), "beats": (data.PULSE_LAGS,), "active": (68, 12)}.items():  # fmt: skip
        getattr(clips, name).append(np.random.default_rng(1).random(shape).astype(np.float16))
    clips.chords.append(np.full(68, data.NO_CHORD, np.int32))
    b = train_encoder.as_dict(data.make_batch(clips, np.zeros(1, int), 64, np.random.default_rng(2)))
    assert b["music"][0] == 1 and b["whole"][0] == 0 and b["tempo"][0] == 0 and b["key"][0] >= 0
    terms = {k: float(v) for k, v in train_encoder.losses(encoder.init(1), b, None).items()}
    learnt = {k for k, v in terms.items() if v}
    assert learnt == {"key", "tonal", "sound"}


def test_frames_do_not_depend_on_where_a_key_lies():
    """The harmony branch shares its weights between pitch classes: a spectrum moved by an octave's part moves the keys."""
    params, rng = encoder.init(3), np.random.default_rng(4)
    low = np.zeros((1, 16, data.SEMITONES), np.float32)
    low[:, :, 20:50] = rng.random((1, 16, 30))
    heard = rng.random((1, 12, data.KEY_COLS), np.float32)
    logits = lambda s, k: np.asarray(encoder.harmony(params, jnp.asarray(s), jnp.asarray(k))[1]).reshape(12, 2)  # noqa: E731
    a, b = logits(low, heard), logits(np.roll(low, 1, 2), np.roll(heard, 1, 1))
    # Class 0 now sees what class 11 saw from one octave lower, so only classes 1 to 11 compare one to one.
    np.testing.assert_allclose(a[:11], b[1:], atol=1e-5)


@pytest.fixture(scope="module")
def small():
    asks, says = questions.all_texts()
    tok = Tokenizer(make_vocab(asks + says))
    shape = decoder.Shape(len(tok.vocab), layers=2, hidden=32, heads=2, ffn=48)
    return tok, shape, decoder.init(1, shape)


LABEL = {"tempo_bpm": 90, "key": "C", "mode": "major", "metre": "4/4", "families": ["piano"], "drums": True}


def test_packed_questions_see_only_the_audio_the_notes_and_themselves(small):
    tok, shape, params = small
    rng = np.random.default_rng(5)
    frames = jnp.asarray(rng.normal(size=(1, data.FRAMES, encoder.WIDTH)), jnp.float32)
    row = train_decoder.make_rows(rng, tok, packing.token_weights(tok), [LABEL], data.FRAMES, True, length=120)
    got = np.asarray(train_decoder.predict(params, shape, row, frames))[0]
    table = params["model.embed_tokens.weight"]
    assert row["segment"].max() >= 2
    for s in range(row["segment"].max() + 1):
        mine = row["segment"][0] == s
        prefix = [table[jnp.array([packing.BOS, packing.AUDIO_START])], decoder.project(params, frames[0]), table[jnp.array([packing.AUDIO_END])]]
        x = jnp.concatenate([*prefix, table[row["notes"][0]], table[row["ids"][0][mine]]])[None]
        alone = decoder.logits(params, decoder.run(params, shape, x, jnp.arange(x.shape[1])[None], decoder.causal(x.shape[1])))
        np.testing.assert_allclose(got[packing.NOTES :][mine], np.asarray(alone[0, -mine.sum() :]), atol=2e-4)
        before = slice(2 + data.FRAMES, 2 + data.FRAMES + packing.NOTES)  # <audio_end> and all notes but the last
        np.testing.assert_allclose(got[: packing.NOTES], np.asarray(alone[0, before]), atol=2e-4)


def test_notes_that_are_invented_are_no_targets(small):
    tok, _, _ = small
    rows = train_decoder.make_rows(np.random.default_rng(1), tok, packing.token_weights(tok), [LABEL, None], 8, False, length=60)
    assert (rows["noted"][0] > 0).sum() == len(facts.SLOTS)
    assert not rows["noted"][1].any()
    quiet = {"music": False, "sound": "noise"}
    rows = train_decoder.make_rows(np.random.default_rng(1), tok, packing.token_weights(tok), [quiet], 8, False, length=60)
    assert (rows["noted"][0] > 0).sum() == 1


def test_the_greedy_decoder_keeps_to_the_notes(small):
    tok, shape, params = small
    rng = np.random.default_rng(9)
    judged = {s: {"sure": 0.5} for s in facts.SURE}
    frames = rng.normal(size=(12, encoder.WIDTH)).astype(np.float32)
    reader = export.Reader(params, shape, frames)
    notes, line = export.take_notes(reader, tok, judged)
    assert len(line) == packing.NOTES
    ids, rows = export.greedy(reader, tok, notes, "is it faster than 100?")
    assert len(ids) == len(rows)
    allowed = [facts.say(n, notes) for n in facts.allowed(notes, "is it faster than 100?")]
    assert any(tok.decode(ids).startswith(a) for a in allowed)


def test_decoder_gradient(small):
    tok, shape, params = small
    rng = np.random.default_rng(6)
    row = train_decoder.make_rows(rng, tok, packing.token_weights(tok), [LABEL], 12, False, length=60)
    with jax.enable_x64(True):
        p64 = {k: jnp.asarray(v, jnp.float64) for k, v in params.items()}
        frames = jnp.asarray(rng.normal(size=(1, data.FRAMES, encoder.WIDTH)))

        soft = packing.near_tempi(tok)
        loss = jax.jit(lambda p: sum(train_decoder.losses(p, shape, row, frames, soft)))
        assert slope_error(loss, p64) < 1e-5


def test_augmentation_moves_the_labels_with_the_sound(tmp_path):
    clips = data.Clips(str(tmp_path))
    clips.labels.append({**LABEL, "music": True})
    clips.active.append(np.zeros((68, 12), np.float32))
    clips.chords.append(np.full(68, 3 * ((0 - data.FIRST_PITCH_CLASS) % 12), np.int32))
    semitones = np.zeros((data.FRAMES, data.SEMITONES), np.float16)
    semitones[:, 42] = 3
    tempograms = np.zeros((17, data.LAGS, data.GROUPS), np.float16)
    tempograms[:, 50] = 1
    clips.semitones.append(semitones)
    clips.mel.append(np.zeros((data.FRAMES, data.MEL), np.float16))
    clips.tempograms.append(tempograms)
    clips.pulse.append(np.repeat(np.eye(data.PULSE_LAGS, dtype=np.float16)[50][:, None], data.PULSE_COLS, 1))
    clips.keys.append(np.repeat(np.eye(12, dtype=np.float16)[4][:, None], data.KEY_COLS, 1))
    clips.beats.append(np.eye(data.PULSE_LAGS, dtype=np.float16)[50])
    for seed in range(12):
        b = data.make_batch(clips, np.zeros(1, int), 64, np.random.default_rng(seed))
        tonic, mode = data.key_of(int(b.key[0]))
        shift = int(b.semitones[0].mean(0).argmax()) - 42
        assert (tonic, mode) == (shift % 12, 0)
        assert b.chords[0, 0] == 3 * ((shift - data.FIRST_PITCH_CLASS) % 12)
        moved = b.tempograms[0].mean((0, 2)).argmax() - 50
        assert abs(moved + data.LAGS_PER_OCTAVE * np.log2(b.tempo[0] / 90)) <= 1
        assert abs(int(b.pulse[0].mean(1).argmax()) - 50 - moved) <= 1
        if b.beats[0].any():  # some windows are left without what engine/mir hears
            assert abs(int(b.beats[0].argmax()) - 50 - moved) <= 1
            assert int(b.keys[0, :, 0].argmax()) == (4 + shift) % 12


def test_the_pulse_is_read_alike_from_every_beat():
    """A pulse of the same music at another tempo gives the same joint logits, moved by as many beats."""
    params, rng = encoder.init(3), np.random.default_rng(5)
    slow = np.zeros((1, data.PULSE_LAGS, data.PULSE_COLS), np.float32)
    slow[:, 30:60] = rng.normal(size=(1, 30, data.PULSE_COLS))
    heard = np.zeros((1, data.PULSE_LAGS), np.float32)
    heard[:, 30:60] = rng.random((1, 30))
    still = jnp.zeros((1, 192)), jnp.zeros((1, 128))
    pairs = (slow, heard), (np.roll(slow, 7, 1), np.roll(heard, 7, 1))
    a, b = (np.asarray(encoder.pulse(params, jnp.asarray(x), jnp.asarray(h), *still)) for x, h in pairs)
    np.testing.assert_allclose(a[:, :-7], b[:, 7:], atol=1e-5)


def test_beat_and_metre_targets_lie_where_the_tempo_does():
    tempo, metre = np.array([120.0, 61.0]), np.array([3, 1])
    target = np.asarray(train_encoder.beat_target(jnp.asarray(tempo), jnp.asarray(metre)))
    np.testing.assert_allclose(target.sum((1, 2)), 1, rtol=1e-5)
    for t, bpm, m in zip(target, tempo, metre, strict=True):
        beat, which = np.unravel_index(t.argmax(), t.shape)
        assert which == m
        assert abs(60 / (data.SHORTEST_LAG * 2 ** ((beat + encoder.BEATS[0]) / data.LAGS_PER_OCTAVE)) / bpm - 1) < 0.02


def test_readouts_are_carried_into_the_projection(small):
    _, _, params = small
    rng, changed = np.random.default_rng(7), dict(params)
    frames = rng.normal(size=(50, encoder.WIDTH)).astype(np.float32)
    weight, bias = rng.normal(size=(3, encoder.WIDTH)), rng.normal(size=3)
    decoder.carry_readouts(changed, weight, bias, frames)
    moved = np.asarray(decoder.project(changed, frames) - decoder.project(params, frames))
    logits = frames @ weight.T + bias
    want = (logits - logits.mean(0)) / logits.std(0)
    # The three read-outs lie along orthogonal directions, so the movement's inner products are theirs.
    np.testing.assert_allclose(moved @ moved.T, decoder.READOUT_GAIN**2 * want @ want.T, rtol=0.02, atol=0.05)


def test_only_families_are_mistaken_among_the_notes_given(small):
    tok, _, _ = small
    slot, rng = train_decoder.noted_ids(tok), np.random.default_rng(3)
    rows = train_decoder.make_rows(rng, tok, packing.token_weights(tok), [LABEL] * 400, 4, True, length=0)
    given = train_decoder.mistaken(rng, rows["notes"], slot)
    places = [slot[f][0] for f in facts.FAMILIES]
    rest = np.setdiff1d(np.arange(given.shape[1]), places)
    assert (given[:, rest] == rows["notes"][:, rest]).all()
    assert abs((given[:, places] != rows["notes"][:, places]).mean() - train_decoder.MISTAKEN) < 0.03
    assert np.isin(given[:, places], slot["piano"][1]).all()
