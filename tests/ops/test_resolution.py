"""Down to which detail two images agree: cases of which the answer is known."""

import numpy as np
import pytest
import torch

from napari_deblur.ops.resolution import Rings, ring_correlation


def noise(shape, seed):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype("f4"))


def limited(shape, spacing, cutoff, seed=0):
    """Noise of all frequencies up to a cut-off, in cycles per unit of the spacing."""
    squared = np.zeros(())
    for n, size in zip(shape, spacing, strict=True):
        squared = squared[..., None] + np.fft.fftfreq(n, size) ** 2
    spectrum = np.fft.fftn(noise(shape, seed).numpy()) * (np.sqrt(squared) <= cutoff)
    image = np.fft.ifftn(spectrum).real
    return torch.from_numpy((image / image.std()).astype("f4"))


@pytest.mark.parametrize("shape", [(96, 101), (16, 40, 44)])
@pytest.mark.parametrize("seed", range(5))
def test_white_noise_has_no_resolution(shape, seed):
    rings = ring_correlation(
        noise(shape, 2 * seed), noise(shape, 2 * seed + 1), (1.0,) * len(shape)
    )
    assert rings.resolution is None
    assert np.abs(rings.correlation[8:]).mean() < 0.15


@pytest.mark.parametrize(
    ("shape", "spacing", "cutoff"),
    [
        ((256, 256), (0.1, 0.1), 2.0),
        ((256, 300), (0.1, 0.1), 1.0),
        ((256, 192), (0.1, 0.15), 2.0),
        ((32, 128, 128), (0.3, 0.1, 0.1), 1.2),
    ],
)
def test_a_band_limited_object_has_the_resolution_of_its_limit(shape, spacing, cutoff):
    thing = limited(shape, spacing, cutoff)
    one, other = (thing + 0.3 * noise(shape, seed) for seed in (1, 2))
    rings = ring_correlation(one, other, spacing)
    # The window and the average over rings take a sharp edge for one up to 3 rings higher.
    ring = rings.frequency[0]
    assert cutoff - ring < rings.cutoff < cutoff + 3 * ring
    assert rings.resolution == 1 / rings.cutoff
    assert not rings.at_the_end


def test_equal_images_agree_to_the_end():
    image = noise((64, 64), 0)
    rings = ring_correlation(image, image, (0.2, 0.2))
    assert rings.at_the_end
    assert rings.resolution == pytest.approx(0.4)
    np.testing.assert_allclose(rings.correlation, 1, rtol=1e-6)


def test_planes_of_a_batch_count_together():
    thing = torch.stack([limited((64, 64), (1.0, 1.0), 0.2, seed) for seed in range(8)])
    one, other = (thing + noise(thing.shape, seed) for seed in (50, 51))
    rings = ring_correlation(one, other, (1.0, 1.0))
    alone = ring_correlation(one[0], other[0], (1.0, 1.0))
    np.testing.assert_allclose(rings.counts, 8 * alone.counts)
    assert 0.19 < rings.cutoff < 0.25


def test_holes_are_no_detail():
    one, other = noise((96, 96), 1), noise((96, 96), 2)
    one[40:44, 30:36] = torch.nan
    assert ring_correlation(one, other, (1.0, 1.0)).resolution is None


def test_half_the_light_is_said():
    rings = Rings(np.arange(1.0, 6), np.full(5, 1 / 7), np.full(5, 100.0))
    np.testing.assert_allclose(rings.whole, 0.25)


def test_what_can_not_be_correlated_is_refused():
    with pytest.raises(ValueError, match="same shape"):
        ring_correlation(torch.ones(9, 9), torch.ones(9, 10), (1.0, 1.0))
    with pytest.raises(ValueError, match="8 along y and x"):
        ring_correlation(torch.ones(7, 9), torch.ones(7, 9), (1.0, 1.0))
    with pytest.raises(ValueError, match="leave 0 rings"):
        ring_correlation(torch.ones(8, 300), torch.ones(8, 300), (0.1, 3.0))
