"""A series that bleaches is restored with one set of numbers, and flickers no more than before."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import napari_deblur as nd
from napari_deblur.psfs.gaussian import Gaussian
from napari_deblur.restoring import restore_tile

KERNEL = Gaussian((0.0, 1.5, 1.5))((1, 11, 11), (1.0, 1.0, 1.0))
FRAMES, DARK = 9, 20.0


def bleaching():
    """A scene that loses a fifth of its light with each frame, under a lamp that flickers."""
    random = np.random.default_rng(3)
    sharp = np.zeros((72, 80))
    for _ in range(25):
        y, x = random.integers(8, 64), random.integers(8, 72)
        sharp[y : y + 2, x : x + 3] = random.uniform(1000, 5000)
    lamp = 0.8 ** np.arange(FRAMES) * (1 + 0.05 * random.uniform(-1, 1, FRAMES))
    blurred = gaussian_filter(sharp, 1.5)
    return np.stack([random.poisson(light * blurred + DARK) for light in lamp]).astype("u2"), lamp


@pytest.mark.parametrize(
    "name", ["accelerated-richardson-lucy", "richardson-lucy", "richardson-lucy-tv"]
)
def test_a_bleaching_series_flickers_no_more_than_its_input(name):
    movie, lamp = bleaching()
    stack = nd.open_stack(movie, "tyx")
    plan = nd.plan(stack, name, kernel=KERNEL)
    channel = plan.channels[0]
    assert "iterations" in channel.decided
    gains = np.array(channel.gains)
    np.testing.assert_allclose(gains / gains[0], lamp / lamp[0], rtol=0.05)
    dark = channel.facts.background
    before = (movie - dark).sum(axis=(1, 2))
    after = np.array(
        [(restore_tile(plan, stack, (t, 0, 0, 0, 0)).image - dark).sum() for t in range(FRAMES)]
    )
    # Flux over time relative to the input's. Where light is short of noise the result is a little
    # too bright, since it can't be negative: that grows smoothly as the scene fades.
    ratio = after / before
    np.testing.assert_allclose(ratio, 1, atol=0.05)
    steps = np.diff(np.log(ratio))
    assert np.abs(steps).max() < 0.015
    # Around the smooth decay the result scatters no more than the input does.
    frames = np.arange(FRAMES)
    scatter = []
    for flux in (before, after):
        smooth = np.polyval(np.polyfit(frames, np.log(flux), 2), frames)
        scatter.append(np.std(np.log(flux) - smooth))
    assert scatter[1] <= 1.05 * scatter[0]
