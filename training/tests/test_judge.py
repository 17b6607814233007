"""Confidences: the fit finds what was put in, also where probabilities are near 1 and too sure."""

import numpy as np

from nano import judge


def test_the_fit_finds_scale_and_shift():
    rng = np.random.default_rng(1)
    logit = rng.normal(1.0, 2.0, 4000)
    right = rng.random(4000) < 1 / (1 + np.exp(-(0.6 * logit - 0.4)))
    scale, shift = judge.platt(1 / (1 + np.exp(-logit)), right.astype(float))
    assert abs(scale - 0.6) < 0.06 and abs(shift + 0.4) < 0.1


def test_the_fit_holds_where_the_model_is_too_sure():
    rng = np.random.default_rng(2)
    logit = rng.uniform(-2.0, 13.8, 220)  # as far as probabilities go
    right = rng.random(220) < 0.75
    scale, shift = judge.platt(1 / (1 + np.exp(-logit)), right.astype(float))
    assert abs(scale) < 0.5
    said = 1 / (1 + np.exp(-scale * logit - shift))
    assert abs(said.mean() - right.mean()) < 0.03


def test_a_family_needs_no_more_than_an_even_chance():
    """Where a decoder says yes too easily on a few clips, the bias stays at 0; where it says no too easily, it is raised."""
    rng = np.random.default_rng(6)
    true = rng.random(200) < 0.3
    margin = np.where(true, 1.0, -1.0) + rng.normal(0, 0.8, 200)
    assert 0 <= judge.best_bias(margin + 1.2, true) <= 0.2
    assert judge.best_bias(margin - 2, true) > 1
