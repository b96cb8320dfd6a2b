"""The slope of a prediction's deviance by the kernel, against differences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_deblur import ops
from napari_deblur.bench.blind_scenes import Scene
from napari_deblur.bench.finding import samples_of
from napari_deblur.methods._prediction import PRIORS, Prediction, Prior

SCENE = Scene("filaments", "defocus", 300, shape=(96, 96))
CHANGE = 0.02


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with ops.one_thread():
        yield


def light() -> Prediction:
    return Prediction(samples_of(SCENE)[:1], 2)


def holed(prediction: Prediction) -> Prediction:
    prediction.mask = torch.ones_like(prediction.kept)
    prediction.mask[:, 30:50, 20:35] = 0
    return prediction


def of_one_noise(prediction: Prediction) -> Prediction:
    prediction.noise = 2.5
    return prediction


@pytest.mark.parametrize("prior", PRIORS, ids=str)
@pytest.mark.parametrize("made", [lambda one: one, holed, of_one_noise], ids=["", "holes", "noise"])
def test_it_is_what_small_changes_make(made: object, prior: Prior) -> None:
    assert callable(made)
    prediction: Prediction = made(light())
    kernel = ops.stretched(SCENE.true, 1.2).contiguous()
    random = np.random.default_rng(4)
    for _ in range(3):
        smooth = random.standard_normal(kernel.shape)
        change = CHANGE * kernel * torch.from_numpy(smooth).float()
        at = kernel.clone().requires_grad_()
        (slope,) = torch.autograd.grad(prediction.deviance(at, prior), at)
        up, down = (
            float(prediction.deviance(kernel + sign * change, prior)) * prediction.nats
            for sign in (1, -1)
        )
        told = float((slope * change).sum()) * prediction.nats
        assert told == pytest.approx((up - down) / 2, rel=0.03, abs=0.02)


def test_holes_say_nothing_of_how_bright_the_rest_is() -> None:
    sample = samples_of(SCENE)[0]
    tile = sample.tile.clone()
    tile[..., 30:60, 20:70] = torch.nan
    whole, part = (Prediction([replace(sample, tile=t)], 2) for t in (sample.tile, tile))
    assert part.start == pytest.approx(whole.start, rel=0.2)


def test_the_value_is_that_without_a_slope() -> None:
    prediction = light()
    kernel = SCENE.true
    for prior in PRIORS:
        sloped = prediction.deviance(kernel.clone().requires_grad_(), prior)
        assert float(sloped.detach()) == pytest.approx(
            float(prediction.deviance(kernel, prior)), rel=1e-6
        )
